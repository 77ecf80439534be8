// Package docs is the folder of the documents; it holds nothing but the line that keeps their tables true.
package docs

//go:generate go run ./gen
