// Command ringfence is the whole of Ringfence in one program: control plane, agent, lab and command line.
package main

import (
	"os"

	"ringfence/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], cli.Programs{})) }
