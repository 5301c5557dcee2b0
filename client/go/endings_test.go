package rerankd_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

func TestDeadlines(t *testing.T) {
	remaining := make(chan time.Duration, 1)
	address := serve(t, fake{}, grpc.InTapHandle(func(ctx context.Context, _ *tap.Info) (context.Context, error) {
		if deadline, limited := ctx.Deadline(); limited {
			remaining <- time.Until(deadline)
		} else {
			remaining <- 0
		}
		return nil, status.Error(codes.Aborted, "seen")
	}))
	day, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
	defer cancel()
	hour := rerankd.WithTimeout(time.Hour)
	for name, each := range map[string]struct {
		ctx     context.Context
		options []rerankd.Option
		want    time.Duration
	}{
		"default":        {t.Context(), nil, time.Minute},
		"the client's":   {t.Context(), []rerankd.Option{hour}, time.Hour},
		"the call's own": {day, []rerankd.Option{hour}, 24 * time.Hour},
		"none":           {t.Context(), []rerankd.Option{rerankd.WithTimeout(0)}, 0},
	} {
		client := connect(t, address, each.options...)
		for method, call := range map[string]func(){
			"Rerank": func() { client.Rerank(each.ctx, &rerankdv1.RerankRequest{}) },
			"RerankPartial": func() {
				for range client.RerankPartial(each.ctx, &rerankdv1.RerankRequest{}) {
				}
			},
			"Models": func() { client.Models(each.ctx) },
		} {
			call()
			if got := <-remaining; got > each.want || got < each.want/2 {
				t.Errorf("%s, %s: %v", method, name, got)
			}
		}
	}
}

func TestContextErrors(t *testing.T) {
	called := make(chan struct{}, 1)
	client := connect(t, serve(t, fake{once: func(
		ctx context.Context, request *rerankdv1.RerankRequest,
	) (*rerankdv1.RerankResponse, error) {
		called <- struct{}{}
		return hang(ctx, request)
	}}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-called; cancel() }()
	_, err := client.Rerank(ctx, &rerankdv1.RerankRequest{})
	_, models := client.Models(ctx)
	for _, partial := range client.RerankPartial(ctx, &rerankdv1.RerankRequest{}) {
		for _, err := range []error{err, models, partial} {
			if !errors.Is(err, context.Canceled) || status.Code(err) != codes.Canceled {
				t.Errorf("cancelled: %v", err)
			}
		}
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = client.Rerank(ctx, &rerankdv1.RerankRequest{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "give the call more time") {
		t.Errorf("out of time: %v", err)
	}
}

// A late context does not know yet that its deadline has passed.
type late struct {
	context.Context
	passed *atomic.Bool
}

func (l late) Deadline() (time.Time, bool) {
	if l.passed.Load() {
		return time.Now(), true
	}
	return time.Now().Add(time.Hour), true
}

func TestADeadlineThatTheServerSeesFirst(t *testing.T) {
	for code, ended := range map[codes.Code]bool{codes.DeadlineExceeded: true, codes.Unavailable: false} {
		var passed atomic.Bool
		client := connect(t, serve(t, fake{once: func(
			context.Context, *rerankdv1.RerankRequest,
		) (*rerankdv1.RerankResponse, error) {
			passed.Store(true)
			return nil, status.Error(code, "")
		}}))
		_, err := client.Rerank(late{t.Context(), &passed}, &rerankdv1.RerankRequest{})
		if errors.Is(err, context.DeadlineExceeded) != ended {
			t.Error(err)
		}
	}
}

func TestTheClientsTimeoutIsADeadline(t *testing.T) {
	client := connect(t, serve(t, fake{once: hang}), rerankd.WithTimeout(time.Millisecond))
	_, err := client.Rerank(t.Context(), &rerankdv1.RerankRequest{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestWhatTheContextDidNotEnd(t *testing.T) {
	for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded} {
		got := failure(t, serve(t, answer(nil, status.Error(code, "by the server"))))
		if got.Code != code || got.Unwrap() != nil {
			t.Errorf("%v: %v", got, got.Unwrap())
		}
	}
}

func TestCloseDuringCalls(t *testing.T) {
	called := make(chan struct{})
	client := connect(t, serve(t, fake{
		once: func(ctx context.Context, r *rerankdv1.RerankRequest) (*rerankdv1.RerankResponse, error) {
			called <- struct{}{}
			return hang(ctx, r)
		},
		stream: func(_ *rerankdv1.RerankRequest, s grpc.ServerStreamingServer[rerankdv1.RerankResponse]) error {
			called <- struct{}{}
			<-s.Context().Done()
			return nil
		},
	}))
	failures := make(chan error)
	go func() {
		_, err := client.Rerank(t.Context(), &rerankdv1.RerankRequest{})
		failures <- err
	}()
	go func() {
		for _, err := range client.RerankPartial(t.Context(), &rerankdv1.RerankRequest{}) {
			failures <- err
		}
	}()
	<-called
	<-called
	client.Close()
	for range 2 {
		if err := <-failures; status.Code(err) != codes.Canceled || errors.Is(err, context.Canceled) {
			t.Errorf("%v looks like the caller's own cancel", err)
		}
	}
}

func TestClose(t *testing.T) {
	client := connect(t, serve(t, answer(&rerankdv1.RerankResponse{}, nil)))
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Rerank(t.Context(), &rerankdv1.RerankRequest{}); err == nil {
		t.Error("a closed client calls")
	}
}
