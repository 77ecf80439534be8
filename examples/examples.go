// Package examples holds the worked examples that the program carries along, so that the demo runs from anywhere.
package examples

import "embed"

// ThreeTier is the directory three-tier: template.json, parameters.json, machines.txt and expected.txt.
//
//go:embed three-tier
var ThreeTier embed.FS
