// Command ringfence is the whole of Ringfence in one program: control plane, agent, lab and command line.
package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"ringfence/cli"
	"ringfence/cni"
	"ringfence/host/agent"
	"ringfence/machine"
	"ringfence/server"
)

func main() {
	if filepath.Base(os.Args[0]) == cni.Program { // container runtimes call a plugin by its file's name
		os.Exit(cni.Main(context.Background(), os.Getenv, os.Stdin, os.Stdout))
	}
	os.Exit(cli.Main(os.Args[1:], cli.Programs{Server: runServer, Agent: runAgent, Services: agent.Serve, Restore: restore,
		CheckBackup: func(r io.Reader) (any, error) { return server.CheckBackup(r) }}))
}

func runServer(ctx context.Context, file string) error {
	c, err := server.LoadConfig(file)
	if err != nil {
		return err
	}
	return server.Run(ctx, c)
}

func runAgent(ctx context.Context, file string) error {
	c, err := agent.LoadConfig(file)
	if err != nil {
		return err
	}
	return agent.Run(ctx, c)
}

func restore(ctx context.Context, file string, backup io.Reader) error {
	_, err := machine.Restore(ctx, file, backup)
	return err
}
