// Conformance performs the calls of tests/clients through this client; see the README there.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: conformance golden FILE NAME=VALUE... | bench NAME=VALUE...")
	}
	given := map[string]string{}
	for _, argument := range os.Args[2:] {
		if name, value, ok := strings.Cut(argument, "="); ok {
			given[name] = value
		}
	}
	switch os.Args[1] {
	case "golden":
		golden(os.Args[2], given)
	case "bench":
		bench(given)
	default:
		log.Fatalf("%q is neither golden nor bench", os.Args[1])
	}
}

// printLine prints a JSON line; standard output has no buffer.
func printLine(line any) {
	text, err := json.Marshal(line)
	check(err)
	fmt.Println(string(text))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
