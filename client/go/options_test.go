package rerankd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

func TestAddresses(t *testing.T) {
	for address, fine := range map[string]bool{
		"": true, "127.0.0.1:50051": true, "[::1]:50051": true, "localhost:50051": true,
		"unix:/run/rerankd": true, "unix-abstract:rerankd": true, "rerankd.example:50051": true,
		"dns:///rerankd:50051": true, "dns:rerankd:50051": true, "passthrough:rerankd": true,
		"other://rerankd": true, ":50051": true, "unix-box:50051": true,
		"http://127.0.0.1:50051": false, "https://rerankd": false, "grpc://rerankd:1": false,
		"grpcs://rerankd:1": false, "tcp://rerankd:1": false, "ws://rerankd:1": false,
		"wss://rerankd:1": false, "HTTP://127.0.0.1:50051": false,
		"localhost": false, "127.0.0.1": false, "localhost:": false, "localhost:0": false,
		"localhost:65536": false, "localhost:5005l": false, "::1": false, "[::1]": false,
		"::1:50051": false, "unix-box": false, "/run/rerankd": false,
	} {
		client, err := rerankd.NewClient(address)
		if err == nil {
			client.Close()
		}
		switch {
		case fine && err != nil:
			t.Error(err)
		case !fine && (err == nil || !strings.Contains(err.Error(), "host:port") ||
			!strings.Contains(err.Error(), address)):
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestATokenNeedsTLSUnlessTheServerIsHere(t *testing.T) {
	for address, local := range map[string]bool{
		"": true, "127.0.0.1:50051": true, "127.1.2.3:50051": true, "[::1]:50051": true,
		"localhost:50051": true, "unix:/run/rerankd": true, "unix-abstract:rerankd": true,
		"10.0.0.1:50051": false, "rerankd:50051": false, "dns:///rerankd:50051": false,
		"127.0.0.1.example:50051": false, "localhost.example:50051": false,
	} {
		client, err := rerankd.NewClient(address, rerankd.WithToken("secret"))
		if err == nil {
			client.Close()
		}
		if (err == nil) != local || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", address, err)
		}
		connect(t, address, rerankd.WithToken("secret"), rerankd.WithTLS(nil))
	}
}

func TestATokenThatCannotBeSent(t *testing.T) {
	for _, token := range []string{"", "secret\n", "\tsecret", "secret ", "secret\x00", "secret\x7f", "sécret"} {
		_, err := rerankd.NewClient("", rerankd.WithToken(token))
		if err == nil || !strings.Contains(err.Error(), "token") || strings.Contains(err.Error(), "cret") {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestATokenNeedsTLSWhateverDialOptionsSay(t *testing.T) {
	_, err := rerankd.NewClient("rerankd:50051", rerankd.WithToken("secret"), rerankd.WithTLS(nil),
		rerankd.WithDialOptions(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err == nil {
		t.Error("it would be sent in plain text")
	}
}

func TestTokenAndTLS(t *testing.T) {
	guarded := fake{once: func(
		ctx context.Context, _ *rerankdv1.RerankRequest,
	) (*rerankdv1.RerankResponse, error) {
		given := metadata.ValueFromIncomingContext(ctx, "authorization")
		if len(given) != 1 || given[0] != "Bearer secret" {
			return nil, status.Errorf(codes.Unauthenticated, "%q", given)
		}
		return &rerankdv1.RerankResponse{}, nil
	}}
	lender := httptest.NewTLSServer(nil) // of a certificate
	defer lender.Close()
	roots := x509.NewCertPool()
	roots.AddCert(lender.Certificate())
	secure := serve(t, guarded, grpc.Creds(credentials.NewServerTLSFromCert(&lender.TLS.Certificates[0])))
	plain := serve(t, guarded)
	token, trusting := rerankd.WithToken("secret"), rerankd.WithTLS(&tls.Config{RootCAs: roots})

	for name, each := range map[string]struct {
		address string
		options []rerankd.Option
		want    codes.Code
	}{
		"plain, with a token":      {plain, []rerankd.Option{token}, codes.OK},
		"plain, without":           {plain, nil, codes.Unauthenticated},
		"encrypted, with a token":  {secure, []rerankd.Option{trusting, token}, codes.OK},
		"encrypted, without":       {secure, []rerankd.Option{trusting}, codes.Unauthenticated},
		"a stranger's certificate": {secure, []rerankd.Option{rerankd.WithTLS(nil), token}, codes.Unavailable},
	} {
		_, err := connect(t, each.address, each.options...).Rerank(t.Context(), &rerankdv1.RerankRequest{})
		if status.Code(err) != each.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDialOptionsWin(t *testing.T) {
	client := connect(t, serve(t, answer(&rerankdv1.RerankResponse{}, nil)),
		rerankd.WithDialOptions(grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1))))
	_, err := client.Rerank(t.Context(), &rerankdv1.RerankRequest{Query: "longer"})
	if status.Code(err) != codes.ResourceExhausted {
		t.Error(err)
	}
}

func TestRetries(t *testing.T) {
	large := &rerankdv1.RerankRequest{Query: strings.Repeat("q", 64<<20)}
	for name, each := range map[string]struct {
		options  []rerankd.Option
		request  *rerankdv1.RerankRequest
		pushback string
		failures int32
		want     codes.Code
		attempts int32
	}{
		"not unless asked for": {nil, nil, "", 1, codes.Unavailable, 1},
		"until it succeeds":    {retrying, nil, "", 2, codes.OK, 3},
		"a large request":      {retrying, large, "", 1, codes.OK, 2},
		"four times at most":   {retrying, nil, "1", 9, codes.Unavailable, 4},
		"not when told not to": {retrying, nil, "-1", 1, codes.Unavailable, 1},
		// An hour, which the deadline cuts short: without it, the second attempt would succeed.
		"as late as told": {retrying, nil, "3600000", 1, codes.DeadlineExceeded, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var attempts atomic.Int32
			client := connect(t, serve(t, fake{once: func(
				ctx context.Context, _ *rerankdv1.RerankRequest,
			) (*rerankdv1.RerankResponse, error) {
				if attempts.Add(1) > each.failures {
					return &rerankdv1.RerankResponse{}, nil
				}
				if each.pushback != "" {
					grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", each.pushback))
				}
				return nil, status.Error(codes.Unavailable, "not now")
			}}), each.options...)
			ctx := t.Context()
			if each.want == codes.DeadlineExceeded {
				limited, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				ctx = limited
			}
			_, err := client.Rerank(ctx, each.request)
			if status.Code(err) != each.want || attempts.Load() != each.attempts {
				t.Errorf("%v after %d attempts", err, attempts.Load())
			}
			if err != nil && each.want == codes.Unavailable && !strings.Contains(err.Error(), ": not now;") {
				t.Error(err)
			}
		})
	}
}

var retrying = []rerankd.Option{rerankd.WithServiceConfig(rerankd.Retrying)}

func TestAServiceConfigThatIsNone(t *testing.T) {
	if _, err := rerankd.NewClient("", rerankd.WithServiceConfig("{")); err == nil {
		t.Error("it is taken")
	}
}
