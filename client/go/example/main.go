// Ranks a few documents on the server at the address given, or at the default one.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

func main() {
	address := rerankd.DefaultAddress
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	client, err := rerankd.NewClient(address)
	check(err)
	defer client.Close()
	ctx := context.Background()

	request := &rerankdv1.RerankRequest{Query: "why is the sky blue"}
	for _, text := range []string{"bread and salt", "why skies are blue", "the blue whale"} {
		request.Documents = append(request.Documents, &rerankdv1.Document{Text: text})
	}
	ranking, err := client.Rerank(ctx, request)
	check(err)
	for _, result := range ranking.Results {
		if result.RelevanceScore == nil {
			fmt.Println(result.Index, "has no score:", result.UnscoredReason)
			continue
		}
		fmt.Println(result.Index, *result.RelevanceScore, result.Source)
	}
	fmt.Println("used:", ranking.Usage)

	// Better and better rankings while a slow model is still at work; a break would end the call.
	for ranking, err := range client.RerankPartial(ctx, request) {
		check(err)
		fmt.Println("final:", ranking.IsFinal, "best:", ranking.Results[0].Index)
	}

	// What went wrong, for a program.
	request.Model = "no-such-model"
	_, err = client.Rerank(ctx, request)
	if failed, ok := errors.AsType[*rerankd.Error](err); ok {
		fmt.Println(failed.Code, failed.Reason, failed.Violations)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
