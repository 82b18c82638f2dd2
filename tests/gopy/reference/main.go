// Command reference answers calls of gocore/pyapi in Go, so that tests of tests/gopy can compare what the Python module
// answers. It reads {"url", "cluster", "calls": [["Describe", "a"], ...]} and prints a list of {"value"} or {"error"}.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"mooncake_te/gocore/pyapi"
)

type request struct {
	URL     string     `json:"url"`
	Cluster string     `json:"cluster"`
	Calls   [][]string `json:"calls"`
}

type answer struct {
	Value string `json:"value"`
	Error string `json:"error"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var r request
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return err
	}
	client, err := pyapi.OpenClient(r.URL, r.Cluster)
	if err != nil {
		return err
	}
	answers := []answer{}
	for _, c := range r.Calls {
		text, err := call(client, c[0], append(c[1:], "", ""))
		if err != nil {
			answers = append(answers, answer{Error: err.Error()})
		} else {
			answers = append(answers, answer{Value: text})
		}
	}
	if err := client.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func call(c *pyapi.Client, name string, arguments []string) (string, error) {
	switch name {
	case "Describe":
		return c.Describe(arguments[0])
	case "List":
		return c.List()
	case "Decode":
		return pyapi.Decode(arguments[0])
	case "Diff":
		return pyapi.Diff(arguments[0], arguments[1])
	}
	return "", fmt.Errorf("no call %q", name)
}
