package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

type testCase struct {
	Name       string
	Method     string
	Server     string
	Address    string
	Request    json.RawMessage
	Generate   struct{ Count, Characters int }
	TimeoutMs  int
	LeaveAfter int
	Retry      bool
	TLS        bool
	Token      string
}

// An end is how a case ended.
type end struct {
	Code       string      `json:"code"`
	Message    string      `json:"message"`
	Reason     string      `json:"reason"`
	RetryAfter *float64    `json:"retryAfter,omitempty"`
	Violations []violation `json:"violations"`
}

type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

func golden(path string, given map[string]string) {
	text, err := os.ReadFile(path)
	check(err)
	var file struct{ Cases []testCase }
	check(json.Unmarshal(text, &file))
	for _, each := range file.Cases {
		each.tell("end", each.perform(given))
	}
}

func (c testCase) tell(what string, value any) {
	printLine(map[string]any{"case": c.Name, what: value})
}

func (c testCase) tellMessage(what string, message proto.Message) {
	text, err := protojson.Marshal(message)
	check(err)
	c.tell(what, json.RawMessage(text))
}

func (c testCase) perform(given map[string]string) end {
	client, err := rerankd.NewClient(c.address(given), c.options(given)...)
	if err != nil {
		return end{Code: "ADDRESS", Message: err.Error(), Violations: []violation{}}
	}
	defer client.Close()
	code, err := c.call(client)
	if err != nil {
		return endOf(err)
	}
	return end{Code: code, Violations: []violation{}}
}

func (c testCase) call(client *rerankd.Client) (code string, err error) {
	ctx := context.Background()
	if c.TimeoutMs > 0 {
		limited, cancel := context.WithTimeout(ctx, time.Duration(c.TimeoutMs)*time.Millisecond)
		defer cancel()
		ctx = limited
	}
	switch c.Method {
	case "models":
		models, err := client.Models(ctx)
		if err != nil {
			return "", err
		}
		c.tellMessage("models", &rerankdv1.ListModelsResponse{Models: models})
	case "rerank":
		ranking, err := client.Rerank(ctx, c.request())
		if err != nil {
			return "", err
		}
		c.tellMessage("ranking", ranking)
	case "rerankPartial":
		count := 0
		for ranking, err := range client.RerankPartial(ctx, c.request()) {
			if err != nil {
				return "", err
			}
			c.tellMessage("ranking", ranking)
			if count++; count == c.LeaveAfter {
				return "LEFT", nil
			}
		}
	}
	return "OK", nil
}

func (c testCase) address(given map[string]string) string {
	if c.Address != "" {
		return c.Address
	}
	if c.Server == "" {
		return given["rerankd"]
	}
	return given[c.Server]
}

func (c testCase) options(given map[string]string) (options []rerankd.Option) {
	if c.Retry {
		options = append(options, rerankd.WithServiceConfig(rerankd.Retrying))
	}
	if c.TLS {
		pem, err := os.ReadFile(given["ca"])
		check(err)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		options = append(options, rerankd.WithTLS(&tls.Config{RootCAs: roots}))
	}
	if c.Token != "" {
		options = append(options, rerankd.WithToken(c.Token))
	}
	return options
}

func (c testCase) request() *rerankdv1.RerankRequest {
	request := &rerankdv1.RerankRequest{}
	if c.Request != nil {
		check(protojson.Unmarshal(c.Request, request))
	}
	for n := range c.Generate.Count {
		request.Documents = append(request.Documents, &rerankdv1.Document{
			Id:   strconv.Itoa(n),
			Text: document(n, c.Generate.Characters),
		})
	}
	return request
}

func document(n, characters int) string {
	start := strconv.Itoa(n%11) + " document"
	return start + strings.Repeat(".", max(0, characters-len(start)))
}

func endOf(err error) end {
	failed, ok := errors.AsType[*rerankd.Error](err)
	if !ok {
		return end{Code: "none", Message: err.Error()}
	}
	said := end{
		Code:       code.Code_name[int32(failed.Code)],
		Message:    failed.Message,
		Reason:     failed.Reason,
		Violations: []violation{},
	}
	if failed.RetryAfter != nil {
		seconds := failed.RetryAfter.Seconds()
		said.RetryAfter = &seconds
	}
	for _, each := range failed.Violations {
		said.Violations = append(said.Violations, violation(each))
	}
	return said
}
