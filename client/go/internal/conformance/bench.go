package main

import (
	"context"
	"fmt"
	"log"
	"strconv"
	"time"

	rerankd "github.com/rerankd/rerankd/client/go"
	"github.com/rerankd/rerankd/client/go/rerankdv1"
)

func bench(given map[string]string) {
	calls, err := strconv.Atoi(given["calls"])
	check(err)
	texts := make([]string, 100)
	for n := range texts {
		texts[n] = fmt.Sprintf("%s %d", document(n, 750), n)
	}
	names := []string{"rerankd", "floor"}
	clients := map[string]*rerankd.Client{}
	times := map[string][]float64{}
	for _, name := range names {
		client, err := rerankd.NewClient(given[name])
		check(err)
		defer client.Close()
		clients[name], times[name] = client, []float64{}
	}
	for n := range calls + calls/10 {
		for _, name := range names {
			started := time.Now()
			rank(clients[name], texts)
			if n >= calls/10 {
				took := float64(time.Since(started).Nanoseconds()) / 1e6
				times[name] = append(times[name], took)
			}
		}
	}
	printLine(times)
}

func rank(client *rerankd.Client, texts []string) {
	request := &rerankdv1.RerankRequest{Query: "why is the sky blue"}
	for _, text := range texts {
		request.Documents = append(request.Documents, &rerankdv1.Document{Text: text})
	}
	ranking, err := client.Rerank(context.Background(), request)
	check(err)
	if best := ranking.GetResults()[0]; best.GetIndex() < 0 || best.RelevanceScore == nil {
		log.Fatalf("%s: the best document has no score", ranking.GetModel())
	}
}
