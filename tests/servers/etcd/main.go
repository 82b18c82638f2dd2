// Command etcd is the current etcd server, with the flags of the real one, for tests: Debian ships 3.4 only.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
