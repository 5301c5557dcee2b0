// Package rerankd is the client of rerankd, the caching proxy for LLM reranking.
//
// The messages are those of package rerankdv1, generated from the proto; every field, limit and
// error is written down there. A Client adds what generated code leaves to its callers: deadlines,
// partial rankings to range over, and errors that say what to do.
package rerankd

import (
	"context"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

// DefaultAddress is where `rerankd serve` listens unless told otherwise.
const DefaultAddress = "127.0.0.1:50051"

// A Client calls one server. Goroutines may share it.
//
// Each call ends at its context's deadline or, where that has none, after the client's timeout. Every
// error of a call is an [*Error].
type Client struct {
	address string
	timeout time.Duration
	conn    *grpc.ClientConn
	stub    rerankdv1.RerankServiceClient
}

// NewClient makes a client for the server at address: host:port, unix:/path, or another target that
// gRPC resolves, such as dns:///host:port; DefaultAddress where it is empty. It connects with the
// first call, so an error is about the address or the options, never about the server.
func NewClient(address string, options ...Option) (*Client, error) {
	if address == "" {
		address = DefaultAddress
	}
	settings := settings{timeout: time.Minute}
	for _, option := range options {
		option(&settings)
	}
	if err := settings.check(address); err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(address, settings.dialOptions()...)
	if err != nil {
		return nil, err
	}
	return &Client{address, settings.timeout, conn, rerankdv1.NewRerankServiceClient(conn)}, nil
}

// Close closes the connection; calls that are still running fail.
func (c *Client) Close() error {
	return c.conn.Close()
}

// Rerank gives the final ranking of the request's documents, best first.
func (c *Client) Rerank(
	ctx context.Context, request *rerankdv1.RerankRequest,
) (*rerankdv1.RerankResponse, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	response, err := c.stub.RerankOnce(ctx, request)
	if err != nil {
		return nil, newError(ctx, err, c.address)
	}
	return response, nil
}

// RerankPartial gives better and better rankings, each of them whole; the last one is final. Every
// loop over it is a call of its own, and leaving the loop ends the call. An error comes last, with a
// nil ranking. The request's own PartialResults does not matter.
func (c *Client) RerankPartial(
	ctx context.Context, request *rerankdv1.RerankRequest,
) iter.Seq2[*rerankdv1.RerankResponse, error] {
	return func(yield func(*rerankdv1.RerankResponse, error) bool) {
		ctx, cancel := c.limit(ctx)
		defer cancel()
		stream, err := c.stub.Rerank(ctx, withPartialResults(request))
		for err == nil {
			var response *rerankdv1.RerankResponse
			if response, err = stream.Recv(); err == nil && !yield(response, nil) {
				return
			}
		}
		if err != io.EOF {
			yield(nil, newError(ctx, err, c.address))
		}
	}
}

// Models lists the models that a request may name, the default first.
func (c *Client) Models(ctx context.Context) ([]*rerankdv1.Model, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	response, err := c.stub.ListModels(ctx, &rerankdv1.ListModelsRequest{})
	if err != nil {
		return nil, newError(ctx, err, c.address)
	}
	return response.GetModels(), nil
}

func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, limited := ctx.Deadline(); limited || c.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.timeout)
}

// withPartialResults copies the request but for its documents, which may be megabytes: both share them.
func withPartialResults(request *rerankdv1.RerankRequest) *rerankdv1.RerankRequest {
	shallow := &rerankdv1.RerankRequest{}
	to, from := shallow.ProtoReflect(), request.ProtoReflect()
	from.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		to.Set(field, value)
		return true
	})
	to.SetUnknown(from.GetUnknown())
	shallow.PartialResults = true
	return shallow
}
