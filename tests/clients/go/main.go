// A Go program of the tests, standard library only: what it does stands in its first argument.
package main

import (
	"fmt"
	"os"
)

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	var err error
	switch mode {
	case "chat":
		err = chat(os.Stdin, os.Stdout)
	case "growth":
		err = growth(os.Stdin, os.Stdout)
	default:
		err = fmt.Errorf("what to do is missing: chat or growth")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
