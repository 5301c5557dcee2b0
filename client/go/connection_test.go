package rerankd_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

// These tests wait for minutes by a clock that takes no time.

func TestAServerThatIsBackIsFoundSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		client := connect(t, nowhere, dialing(func(ctx context.Context) (net.Conn, error) {
			tries = append(tries, time.Now())
			if deadline, _ := ctx.Deadline(); time.Until(deadline) != 20*time.Second {
				t.Errorf("%v to connect", time.Until(deadline))
			}
			return nil, errors.New("down")
		}))
		client.Models(t.Context())
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for n, try := range append(tries, time.Now())[1:] {
			if pause := try.Sub(tries[n]); pause > 2400*time.Millisecond { // gRPC varies them by 20 %
				t.Errorf("pause %d: %v", n, pause)
			}
		}
	})
}

func TestKeepalive(t *testing.T) {
	for name, each := range map[string]struct {
		options []rerankd.Option
		code    codes.Code
		after   time.Duration
	}{
		"off":   {nil, codes.DeadlineExceeded, time.Minute},
		"asked": {[]rerankd.Option{rerankd.WithKeepalive(30*time.Second, 10*time.Second)}, codes.Unavailable, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := connect(t, nowhere, append(each.options, dialing(silent))...)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				started := time.Now()
				_, err := client.Rerank(ctx, &rerankdv1.RerankRequest{})
				if status.Code(err) != each.code || time.Since(started) != each.after {
					t.Errorf("after %v: %v", time.Since(started), err)
				}
			})
		})
	}
}

// nowhere is resolved without the network, which knows no other clock than its own.
const nowhere = "passthrough:///nowhere:1"

func dialing(dial func(context.Context) (net.Conn, error)) rerankd.Option {
	return rerankd.WithDialOptions(grpc.WithContextDialer(
		func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
}

// silent connects to a server that says hello and then nothing.
func silent(context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		go io.Copy(io.Discard, server)
		server.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // empty HTTP/2 settings
	}()
	return client, nil
}
