package rerankd_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

func TestErrors(t *testing.T) {
	second := time.Second
	info := pack(&errdetails.ErrorInfo{Domain: "rerankd", Reason: "A_REASON"})
	for name, each := range map[string]struct {
		code    codes.Code
		details []*anypb.Any
		want    rerankd.Error
	}{
		"a reason": {
			codes.FailedPrecondition, []*anypb.Any{info},
			rerankd.Error{Message: "said", Reason: "A_REASON"},
		},
		"somebody else's reason": {
			codes.ResourceExhausted,
			[]*anypb.Any{pack(&errdetails.ErrorInfo{Domain: "else", Reason: "OTHER"})},
			rerankd.Error{Message: "said"},
		},
		"a time": {
			codes.Unavailable,
			[]*anypb.Any{info, pack(&errdetails.RetryInfo{RetryDelay: durationpb.New(second)})},
			rerankd.Error{Message: "said", Reason: "A_REASON", RetryAfter: &second},
		},
		"no time": {
			codes.Unavailable,
			[]*anypb.Any{info, pack(&errdetails.RetryInfo{})},
			rerankd.Error{Message: "said", Reason: "A_REASON"},
		},
		"fields": {
			codes.InvalidArgument,
			[]*anypb.Any{info, pack(&errdetails.BadRequest{
				FieldViolations: []*errdetails.BadRequest_FieldViolation{
					{Field: "query", Description: "is empty"},
					{Field: "top_n", Description: "is odd"},
				},
			})},
			rerankd.Error{Message: "said", Reason: "A_REASON", Violations: []rerankd.Violation{
				{Field: "query", Description: "is empty"}, {Field: "top_n", Description: "is odd"},
			}},
		},
		"subjects": {
			codes.FailedPrecondition,
			[]*anypb.Any{info, pack(&errdetails.PreconditionFailure{
				Violations: []*errdetails.PreconditionFailure_Violation{
					{Type: "PENDING", Subject: "documents[1]", Description: "has no score"},
				},
			})},
			rerankd.Error{Message: "said", Reason: "A_REASON", Violations: []rerankd.Violation{
				{Field: "documents[1]", Description: "has no score"},
			}},
		},
		"a detail that cannot be read": {
			codes.Internal,
			[]*anypb.Any{{TypeUrl: "type.googleapis.com/google.rpc.RetryInfo", Value: []byte{1}}},
			rerankd.Error{Message: "said"},
		},
		"UNAVAILABLE, not rerankd's": {codes.Unavailable, nil, rerankd.Error{
			Message: `cannot reach rerankd at ADDRESS: said; is it running there? "rerankd serve" starts it`,
		}},
		"DEADLINE_EXCEEDED, not rerankd's": {codes.DeadlineExceeded, nil, rerankd.Error{
			Message: "rerankd at ADDRESS did not answer in time: said; give the call more time",
		}},
		"RESOURCE_EXHAUSTED, not rerankd's": {codes.ResourceExhausted, nil, rerankd.Error{
			Message: "said; send fewer documents at once, or raise max_message_bytes on the server",
		}},
		"UNIMPLEMENTED, not rerankd's": {codes.Unimplemented, nil, rerankd.Error{
			Message: "what listens at ADDRESS is no rerankd, or an older one: said",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			sent := &statuspb.Status{Code: int32(each.code), Message: "said", Details: each.details}
			address := serve(t, answer(nil, status.ErrorProto(sent)))
			got := failure(t, address)
			each.want.Message = strings.ReplaceAll(each.want.Message, "ADDRESS", address)
			if got.Code != each.code || got.Message != each.want.Message ||
				got.Error() != each.want.Message || got.Reason != each.want.Reason ||
				!reflect.DeepEqual(got.RetryAfter, each.want.RetryAfter) ||
				!reflect.DeepEqual(got.Violations, each.want.Violations) {
				t.Errorf("got %+v", got)
			}
			if read := status.Convert(got).Proto(); !proto.Equal(read, sent) {
				t.Errorf("gRPC reads %v", read)
			}
			if code := status.Code(fmt.Errorf("ranking: %w", got)); code != each.code {
				t.Errorf("gRPC reads %v from what wraps it", code)
			}
		})
	}
}

func TestDetailsThatCannotBeRead(t *testing.T) {
	got := failure(t, serve(t, fake{once: func(
		ctx context.Context, _ *rerankdv1.RerankRequest,
	) (*rerankdv1.RerankResponse, error) {
		grpc.SetTrailer(ctx, metadata.Pairs("grpc-status-details-bin", "\x01"))
		return nil, status.Error(codes.NotFound, "said")
	}}))
	if got.Code != codes.NotFound || got.Message != "said" {
		t.Errorf("got %+v", got)
	}
}

func TestAnErrorAlwaysSaysSomething(t *testing.T) {
	if got := failure(t, serve(t, answer(nil, status.Error(codes.DataLoss, "")))); got.Error() != "DataLoss" {
		t.Error(got)
	}
}

func TestAnErrorOfOnesOwnIsAStatusToo(t *testing.T) {
	made := &rerankd.Error{Code: codes.NotFound, Message: "said"} // as a test of a caller may
	if read := status.Convert(made); read.Code() != codes.NotFound || read.Message() != "said" {
		t.Error(read)
	}
}

func pack(message proto.Message) *anypb.Any {
	packed, err := anypb.New(message)
	if err != nil {
		panic(err)
	}
	return packed
}

func failure(t *testing.T, address string) *rerankd.Error {
	t.Helper()
	_, err := connect(t, address).Rerank(t.Context(), &rerankdv1.RerankRequest{})
	failed, ok := errors.AsType[*rerankd.Error](err)
	if !ok {
		t.Fatalf("%v is no *rerankd.Error", err)
	}
	return failed
}
