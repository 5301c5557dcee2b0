package rerankd_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

func TestRankingsAndModels(t *testing.T) {
	score := 0.9
	want := &rerankdv1.RerankResponse{IsFinal: true, Results: []*rerankdv1.RankedDocument{
		{Index: 1, RelevanceScore: &score, Source: rerankdv1.ScoreSource(98)}, // of a newer server
	}}
	socket, _ := start(t, "unix", filepath.Join(t.TempDir(), "socket"), answer(want, nil))
	for _, address := range []string{serve(t, answer(want, nil)), "unix:" + socket} {
		client := connect(t, address)
		got, err := client.Rerank(t.Context(), &rerankdv1.RerankRequest{})
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("at %s: %v, %v", address, got, err)
		}
		models, err := client.Models(t.Context())
		if err != nil || len(models) != 2 || models[0].GetName() != "a" {
			t.Errorf("at %s: %v, %v", address, models, err)
		}
	}
}

func TestMessagesOfAnySize(t *testing.T) {
	echo := func(_ context.Context, request *rerankdv1.RerankRequest) (*rerankdv1.RerankResponse, error) {
		return &rerankdv1.RerankResponse{Model: request.GetQuery()}, nil
	}
	client := connect(t, serve(t, fake{once: echo}))
	query := strings.Repeat("q", 5<<20)
	got, err := client.Rerank(t.Context(), &rerankdv1.RerankRequest{Query: query})
	if err != nil || got.GetModel() != query {
		t.Error(err)
	}
}

func TestPartialRankings(t *testing.T) {
	request := &rerankdv1.RerankRequest{
		Query: "q", Documents: []*rerankdv1.Document{{Text: "a"}}, Model: "m", TopN: 3,
		Instruction: "i", ReturnDocuments: true, RequireComplete: true, CacheMode: 4,
	}
	request.ProtoReflect().SetUnknown([]byte{0xc2, 0x3e, 0x01, 'x'}) // a field of a newer proto
	before := proto.CloneOf(request)
	want := proto.CloneOf(request)
	want.PartialResults = true

	client := connect(t, serve(t, fake{stream: func(
		got *rerankdv1.RerankRequest, stream grpc.ServerStreamingServer[rerankdv1.RerankResponse],
	) error {
		if !proto.Equal(got, want) {
			return status.Errorf(codes.Internal, "got %v", got)
		}
		return errors.Join(
			stream.Send(&rerankdv1.RerankResponse{}),
			stream.Send(&rerankdv1.RerankResponse{IsFinal: true}))
	}}))
	rankings := client.RerankPartial(t.Context(), request)
	for range 2 { // each loop is a call
		var finals []bool
		for ranking, err := range rankings {
			if err != nil {
				t.Fatal(err)
			}
			finals = append(finals, ranking.GetIsFinal())
		}
		if len(finals) != 2 || finals[0] || !finals[1] {
			t.Error(finals)
		}
	}
	if !proto.Equal(request, before) {
		t.Errorf("the caller's request became %v", request)
	}
}

func TestAnErrorComesLast(t *testing.T) {
	client := connect(t, serve(t, fake{stream: func(
		_ *rerankdv1.RerankRequest, stream grpc.ServerStreamingServer[rerankdv1.RerankResponse],
	) error {
		return errors.Join(stream.Send(&rerankdv1.RerankResponse{}), status.Error(codes.Internal, "no"))
	}}))
	var failures []error
	for _, err := range client.RerankPartial(t.Context(), &rerankdv1.RerankRequest{}) {
		failures = append(failures, err)
	}
	if len(failures) != 2 || failures[0] != nil || status.Code(failures[1]) != codes.Internal {
		t.Error(failures)
	}
}

func TestLeavingTheLoopEndsTheCall(t *testing.T) {
	ended := make(chan error, 1)
	client := connect(t, serve(t, fake{stream: func(
		_ *rerankdv1.RerankRequest, stream grpc.ServerStreamingServer[rerankdv1.RerankResponse],
	) error {
		stream.Send(&rerankdv1.RerankResponse{})
		<-stream.Context().Done()
		ended <- stream.Context().Err()
		return nil
	}}), rerankd.WithTimeout(0))
	for range client.RerankPartial(t.Context(), &rerankdv1.RerankRequest{}) {
		break
	}
	select {
	case err := <-ended:
		if err != context.Canceled {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the call goes on")
	}
}

func TestALostConnectionIsUnavailable(t *testing.T) {
	address, stop := start(t, "tcp", "127.0.0.1:0", fake{stream: func(
		_ *rerankdv1.RerankRequest, stream grpc.ServerStreamingServer[rerankdv1.RerankResponse],
	) error {
		stream.Send(&rerankdv1.RerankResponse{})
		<-stream.Context().Done()
		return nil
	}})
	var last error
	for _, err := range connect(t, address).RerankPartial(t.Context(), &rerankdv1.RerankRequest{}) {
		if last = err; err == nil {
			stop()
		}
	}
	if status.Code(last) != codes.Unavailable {
		t.Error(last)
	}
}
