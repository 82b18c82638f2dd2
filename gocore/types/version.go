package types

// LibraryVersion is what te_version reports as "library". The build sets it (-ldflags -X) to the version of the Python
// package, which stands in python/mooncake_te/_version.py; "dev" is a build that did not go through hatch_build.py.
var LibraryVersion = "dev"
