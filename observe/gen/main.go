// Package main writes the C header of drop reasons from observe's list: observe.Reasons goes in, the file named on the command
// line comes out. It belongs to observe and is run by go generate.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"ringfence/observe"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], header(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func header() []byte {
	var b bytes.Buffer
	b.WriteString("// Generated from observe/reason.go by observe/gen. Do not edit.\n#pragma once\n\nenum reason {\n")
	fmt.Fprintf(&b, "\tREASON_NONE = %d,\n", observe.None)
	for _, i := range observe.Reasons() {
		fmt.Fprintf(&b, "\t%s = %d, // %s\n", strings.ToUpper(i.Name), i.Reason, i.Text)
	}
	fmt.Fprintf(&b, "\tREASONS = %d,\n};\n", len(observe.Reasons())+1)
	return b.Bytes()
}
