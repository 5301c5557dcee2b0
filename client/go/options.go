package rerankd

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Retrying is a gRPC service config, for [WithServiceConfig]: calls that the server cannot take now
// are made again, up to three more times, after as long as the server says, and not beyond the
// call's deadline. What was bought by then is cached, so nothing is bought twice.
//
//go:embed service_config.json
var Retrying string

// An Option changes how a [Client] reaches its server.
type Option func(*settings)

type settings struct {
	timeout       time.Duration
	tls           credentials.TransportCredentials
	token         *string
	serviceConfig string
	keepalive     *keepalive.ClientParameters
	dial          []grpc.DialOption
}

// WithTimeout sets how long a call whose context has no deadline may take: a minute without this
// option. 0 leaves it to the server's time_limit.
func WithTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.timeout = timeout }
}

// WithTLS encrypts the connection, and checks the server's certificate against config.RootCAs, or the
// system's roots. A nil config is the usual one.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) { s.tls = credentials.NewTLS(config) }
}

// WithToken sends `authorization: Bearer TOKEN` with each call. NewClient refuses it without
// [WithTLS], unless the server is on this machine, and refuses a token that is empty or more than
// visible ASCII.
func WithToken(token string) Option {
	return func(s *settings) { s.token = &token }
}

// WithServiceConfig loads a gRPC service config in JSON, such as [Retrying].
func WithServiceConfig(json string) Option {
	return func(s *settings) { s.serviceConfig = json }
}

// WithKeepalive asks the server for a sign of life when it has been silent for idle during a call,
// and gives the connection up when none comes within timeout. gRPC takes an idle of less than 10 s
// for 10 s.
func WithKeepalive(idle, timeout time.Duration) Option {
	return func(s *settings) {
		s.keepalive = &keepalive.ClientParameters{Time: idle, Timeout: timeout}
	}
}

// WithDialOptions passes options on to [grpc.NewClient]. They win over what the client sets itself.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, options...) }
}

func (s *settings) check(address string) error {
	if err := checkAddress(address); err != nil {
		return err
	}
	if s.token == nil {
		return nil
	}
	if err := checkToken(*s.token); err != nil {
		return err
	}
	if s.tls == nil && !isLocal(address) {
		return fmt.Errorf("address %q: a token would be sent there in plain text; set WithTLS", address)
	}
	return nil
}

// checkToken refuses what comes of an unset variable, or of a file with its line's end. Its errors go
// to logs, and the token must not.
func checkToken(token string) error {
	if token == "" {
		return errors.New("the token is empty")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the token has a space, a line's end or another character that is not visible ASCII")
	}
	return nil
}

func (s *settings) dialOptions() []grpc.DialOption {
	// The server bounds messages and says so in words; a second bound here would only hide them.
	options := []grpc.DialOption{grpc.WithDefaultCallOptions(
		grpc.MaxCallRecvMsgSize(math.MaxInt), grpc.MaxCallSendMsgSize(math.MaxInt))}
	// A server that is back is found soon: gRPC's own pauses grow to two minutes, in which calls fail.
	pauses := backoff.DefaultConfig
	pauses.MaxDelay = 2 * time.Second
	options = append(options, grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: pauses, MinConnectTimeout: 20 * time.Second}))
	if s.tls != nil {
		options = append(options, grpc.WithTransportCredentials(s.tls))
	} else {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	if s.token != nil {
		options = append(options, grpc.WithPerRPCCredentials(bearer{*s.token, s.tls != nil}))
	}
	if s.serviceConfig != "" {
		// What is to be sent again has to be kept, and gRPC's 256 KiB are soon too few.
		options = append(options, grpc.WithDefaultServiceConfig(s.serviceConfig),
			grpc.WithDefaultCallOptions(grpc.MaxRetryRPCBufferSize(math.MaxInt)))
	}
	if s.keepalive != nil {
		options = append(options, grpc.WithKeepaliveParams(*s.keepalive))
	}
	return append(options, s.dial...)
}

type bearer struct {
	token  string
	secure bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

func (b bearer) RequireTransportSecurity() bool {
	return b.secure
}
