// Package gopy pins what `make gopy` needs: the package that it turns into a Python module, and what the generated code
// imports. There is nothing in it to import.
package gopy

import (
	_ "github.com/go-python/gopy/gopyh" // for the generated code
	_ "mooncake_te/gocore/pyapi"
)
