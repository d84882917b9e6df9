package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"trestle/internal/testkit"
)

// neverSucceed are operations that a server without a gateway for text messages
// refuses, always.
var neverSucceed = []string{
	"POST /_matrix/client/v3/account/3pid/msisdn/requestToken",
	"POST /_matrix/client/v3/account/password/msisdn/requestToken",
	"POST /_matrix/client/v3/register/msisdn/requestToken",
}

// An operation is a line of the specification's endpoints.tsv.
type operation struct{ api, name string }

func readOperations(path string) ([]operation, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the specification's operations: %w", err)
	}
	var list []operation
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		columns := strings.Split(line, "\t")
		if len(columns) < 3 {
			return nil, fmt.Errorf("read the specification's operations: %q has no API, method and path", line)
		}
		list = append(list, operation{columns[0], columns[1] + " " + columns[2]})
	}
	return list, nil
}

// see takes the operations from a line of a test.
func (s *summary) see(line string) {
	_, names, ok := strings.Cut(line, testkit.SeenPrefix)
	if !ok {
		return
	}
	for name := range strings.SplitSeq(strings.TrimSpace(names), ", ") {
		s.seen[name] = true
	}
}

// count says how many operations were seen, and which were not.
func (s *summary) count(out io.Writer) (all bool) {
	all = true
	for _, api := range []string{"client-server", "application-service"} {
		total, seen, refused := 0, 0, 0
		for _, op := range s.operations {
			if op.api != api {
				continue
			}
			total++
			if s.seen[op.name] {
				seen++
				continue
			}
			if slices.Contains(neverSucceed, op.name) {
				refused++
				continue
			}
			fmt.Fprintf(out, "no test has seen it succeed: %s\n", op.name)
			all = false
		}
		if total > 0 {
			fmt.Fprintf(out, "specification: %d of %d operations of %s seen to succeed, %d refused as ever\n", seen, total, api, refused)
		}
	}
	return all
}
