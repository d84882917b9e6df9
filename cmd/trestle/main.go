// Command trestle is the whole of Trestle in one binary: the homeserver, its
// bundled bridges, and the tools of its operator.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		// The first signal asks for a graceful stop. With the handler gone, the
		// second one ends the process.
		<-ctx.Done()
		stop()
	}()
	std := streams{os.Stdin, os.Stdout, os.Stderr}
	os.Exit(run(ctx, os.Args, os.Environ(), std, server{}))
}

// streams are where the commands read and write.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run runs one command, args[0] being the program, and returns the exit code
// of the process.
func run(ctx context.Context, args, environ []string, std streams, homeserver Homeserver) int {
	root := newRoot(commands{program: args[0], environ: environ, std: std, homeserver: homeserver})
	root.SetArgs(args[1:])
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(std.err, err)
		return 1
	}
	return 0
}
