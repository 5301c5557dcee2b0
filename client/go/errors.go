package rerankd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An Error is a call that failed. [status.FromError] and [status.Code] read it too, and [errors.Is]
// finds [context.Canceled] and [context.DeadlineExceeded] in it where the call's context, or the
// client's timeout, ended the call.
type Error struct {
	// Code is the gRPC status code.
	Code codes.Code

	// Message is fit for a person.
	Message string

	// Reason is rerankd's own, as listed in the proto, such as KEY_REJECTED. It is empty where the
	// status is not rerankd's.
	Reason string

	// RetryAfter is the time after which a new try may succeed; nil where the server did not tell.
	RetryAfter *time.Duration

	// Violations are the rules that were broken, or the documents that stayed without a score.
	Violations []Violation

	status *status.Status
	ended  error // the context's
}

// A Violation is one rule that one field breaks.
type Violation struct {
	Field       string // its path, as in the proto: documents[3].text
	Description string
}

// Error gives the message.
func (e *Error) Error() string {
	return e.Message
}

// GRPCStatus gives the status as it came, with all its details.
func (e *Error) GRPCStatus() *status.Status {
	if e.status == nil {
		return status.New(e.Code, e.Message)
	}
	return e.status
}

// Unwrap gives the context's error if that ended the call.
func (e *Error) Unwrap() error {
	return e.ended
}

// endOf gives the error of ctx if code stands for it: Close and servers cancel calls, too.
func endOf(ctx context.Context, code codes.Code) error {
	err := ctx.Err()
	if deadline, limited := ctx.Deadline(); err == nil && limited && !time.Now().Before(deadline) {
		err = context.DeadlineExceeded // the server was quicker to see it than the context's timer
	}
	if status.FromContextError(err).Code() != code {
		return nil
	}
	return err
}

// newError reads what a call to address gave.
func newError(ctx context.Context, err error, address string) *Error {
	// Not status.Convert: after the last retry gRPC wraps the status, and that would put the
	// wrapping into the message.
	received := status.New(codes.Unknown, err.Error())
	if carrier, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		received = carrier.GRPCStatus()
	}
	e := &Error{Code: received.Code(), Message: received.Message(), status: received}
	e.ended = endOf(ctx, e.Code)
	if e.Message == "" {
		e.Message = e.Code.String()
	}
	if !e.readDetails() {
		e.Message = hint(e.Code, e.Message, address)
	}
	return e
}

// readDetails tells whether a server, rerankd or another, gave its reason: gRPC itself gives none.
func (e *Error) readDetails() (reasoned bool) {
	var fields, subjects []Violation
	for _, detail := range e.status.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reasoned = true
			if detail.GetDomain() == "rerankd" {
				e.Reason = detail.GetReason()
			}
		case *errdetails.RetryInfo:
			if delay := detail.GetRetryDelay(); delay != nil {
				after := delay.AsDuration()
				e.RetryAfter = &after
			}
		case *errdetails.BadRequest:
			for _, each := range detail.GetFieldViolations() {
				fields = append(fields, Violation{each.GetField(), each.GetDescription()})
			}
		case *errdetails.PreconditionFailure:
			for _, each := range detail.GetViolations() {
				subjects = append(subjects, Violation{each.GetSubject(), each.GetDescription()})
			}
		}
	}
	if e.Violations = fields; fields == nil {
		e.Violations = subjects
	}
	return reasoned
}

// hint says what to do where no server did, because the call never got there.
func hint(code codes.Code, said, address string) string {
	switch code {
	case codes.Unavailable:
		return fmt.Sprintf(
			`cannot reach rerankd at %s: %s; is it running there? "rerankd serve" starts it`, address, said)
	case codes.DeadlineExceeded:
		return fmt.Sprintf(
			"rerankd at %s did not answer in time: %s; give the call more time", address, said)
	case codes.ResourceExhausted:
		return said + "; send fewer documents at once, or raise max_message_bytes on the server"
	case codes.Unimplemented:
		return fmt.Sprintf(
			"what listens at %s is no rerankd, or an older one: %s", address, said)
	default:
		return said
	}
}
