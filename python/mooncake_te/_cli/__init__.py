"""The `mooncake-te` command. Not part of the Python API: nothing here is imported by the package itself."""
