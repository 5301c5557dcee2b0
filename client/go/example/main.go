// Ranks a few documents on the server at the address given, or at the default one.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

func main() {
	client, err := rerankd.NewClient(strings.Join(os.Args[1:], ""))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	request := &rerankdv1.RerankRequest{Query: "why is the sky blue"}
	for _, text := range []string{"bread and salt", "why skies are blue", "the blue whale"} {
		request.Documents = append(request.Documents, &rerankdv1.Document{Text: text})
	}
	ranking, err := client.Rerank(context.Background(), request)
	if err != nil {
		log.Fatal(err)
	}
	for _, result := range ranking.Results {
		fmt.Printf("%d %.3f %v\n", result.Index, result.GetRelevanceScore(), result.Source)
	}
	fmt.Println(ranking.Usage)

	// Better and better rankings while a slow model is still at work; a break would end the call.
	for ranking, err := range client.RerankPartial(context.Background(), request) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ranking.IsFinal, len(ranking.Results))
	}

	// An error says which rule was broken.
	_, err = client.Rerank(context.Background(), &rerankdv1.RerankRequest{Model: "no-such-model"})
	if failed, ok := errors.AsType[*rerankd.Error](err); ok {
		fmt.Println(failed.Code, failed.Reason, failed.Violations)
	}
}
