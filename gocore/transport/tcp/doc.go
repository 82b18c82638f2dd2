// Package tcp is the transport over plain TCP: the data protocol of docs/protocol.md, its server and its client.
//
// A connection belongs to one pair of instances and begins with a one-time token that the target handed out over the
// control session. Requests are pipelined; each carries a table of (buffer ID, offset, length) and its payload runs, in
// chunks, over the concatenation of the table's entries, straight from and to user memory. No raw address is on the
// wire. The package decides nothing about outcomes or retries, and asks transport.Memory before every access.
//
// Ownership and concurrency: an inbound connection is one goroutine; an outbound one (a Path) is a writer and a reader.
// Callers with small posts may do the work of either in their own goroutine (transport.Prompt): who sends holds Path.busy,
// who receives has the stream's input (input.go).
// Each goes round in non-blocking system calls: it takes the gates of the memory that one readv or writev covers, makes
// the call, checks or makes the checksum while the bytes are hot, leaves the gates, and only then waits for the socket.
package tcp
