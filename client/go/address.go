package rerankd

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"google.golang.org/grpc/resolver"
)

// checkAddress refuses what gRPC would take for a host's name, or for a host's port 443, and fail late.
func checkAddress(address string) error {
	scheme, _, isURL := strings.Cut(address, "://")
	switch strings.ToLower(scheme) {
	case "http", "https", "grpc", "grpcs", "tcp", "ws", "wss":
		if isURL {
			return fmt.Errorf(
				"address %q: give host:port or unix:/path, without %s://; TLS is an option of the client, WithTLS",
				address, scheme)
		}
	}
	if isURL || isTarget(address) || hasPort(address) {
		return nil
	}
	return fmt.Errorf("address %q: give host:port, such as 127.0.0.1:50051 or [::1]:50051, or unix:/path", address)
}

// isTarget tells whether a resolver of gRPC reads the address, as unix:/path or dns:host:port.
func isTarget(address string) bool {
	scheme, _, found := strings.Cut(address, ":")
	return found && resolver.Get(strings.ToLower(scheme)) != nil
}

func hasPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	number, err := net.LookupPort("tcp", port)
	return err == nil && number != 0
}

// isLocal tells whether the way to address stays on this machine.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "unix-abstract:") {
		return true
	}
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
