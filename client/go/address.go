package rerankd

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// checkScheme refuses what looks like a URL: gRPC would take it for a host's name, and fail late.
func checkScheme(address string) error {
	scheme, _, found := strings.Cut(address, "://")
	if !found {
		return nil
	}
	switch strings.ToLower(scheme) {
	case "http", "https", "grpc", "grpcs", "tcp", "ws", "wss":
		return fmt.Errorf(
			"address %q: give host:port or unix:/path, without %s://; TLS is an option of the client, WithTLS",
			address, scheme)
	}
	return nil
}

// isLocal tells whether the way to address stays on this machine.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "unix-abstract:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
