package rerankd_test

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

// patience is for what never happens unless the client is broken.
const patience = 20 * time.Second

// The way to this machine leads through no proxy, as Go has it: this one would refuse every test.
func TestMain(m *testing.M) {
	os.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	os.Exit(m.Run())
}

// A fake answers calls with what its fields say.
type fake struct {
	rerankdv1.UnimplementedRerankServiceServer
	once   func(context.Context, *rerankdv1.RerankRequest) (*rerankdv1.RerankResponse, error)
	stream func(*rerankdv1.RerankRequest, grpc.ServerStreamingServer[rerankdv1.RerankResponse]) error
}

func (f fake) RerankOnce(
	ctx context.Context, request *rerankdv1.RerankRequest,
) (*rerankdv1.RerankResponse, error) {
	return f.once(ctx, request)
}

func (f fake) Rerank(
	request *rerankdv1.RerankRequest, stream grpc.ServerStreamingServer[rerankdv1.RerankResponse],
) error {
	return f.stream(request, stream)
}

func (f fake) ListModels(
	context.Context, *rerankdv1.ListModelsRequest,
) (*rerankdv1.ListModelsResponse, error) {
	return &rerankdv1.ListModelsResponse{Models: []*rerankdv1.Model{{Name: "a"}, {Name: "b"}}}, nil
}

// serve gives the address where f answers.
func serve(t *testing.T, f fake, options ...grpc.ServerOption) string {
	t.Helper()
	address, _ := start(t, "tcp", "127.0.0.1:0", f, options...)
	return address
}

func start(
	t *testing.T, network, at string, f fake, options ...grpc.ServerOption,
) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(1<<30))...)
	rerankdv1.RegisterRerankServiceServer(server, f)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String(), server.Stop
}

func connect(t *testing.T, address string, options ...rerankd.Option) *rerankd.Client {
	t.Helper()
	client, err := rerankd.NewClient(address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// answer makes a server that answers every RerankOnce so.
func answer(response *rerankdv1.RerankResponse, err error) fake {
	return fake{once: func(context.Context, *rerankdv1.RerankRequest) (*rerankdv1.RerankResponse, error) {
		return response, err
	}}
}

// hang answers when the call is over.
func hang(ctx context.Context, _ *rerankdv1.RerankRequest) (*rerankdv1.RerankResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
