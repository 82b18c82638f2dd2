// Command lib is what links libmooncake_te.so; everything is in package capi.
package main

import _ "mooncake_te/capi"

func main() {}
