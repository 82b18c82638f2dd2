// Command attacker is a peer that keeps to the control protocol and floods with it, as fast as the other side takes it:
//
//	attacker -to HOST:PORT -with attach|grant_query|notify|retire|ping|drain|hello|describe -seconds 3
//
// It prints one JSON object: messages sent and received, and how its streams ended. Tests of tests/chaos run it against
// real processes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/types"
)

// report is what is printed.
type report struct {
	Sent, Received uint64
	Sessions       uint64
	Ends           map[string]int // what streams ended with
}

type attacker struct {
	client controlpb.ControlClient
	with   string
	report report
}

func main() {
	to := flag.String("to", "", "host:port of the control channel")
	with := flag.String("with", "ping", "what to flood with")
	seconds := flag.Float64("seconds", 3, "for how long")
	flag.Parse()
	conn, err := grpc.NewClient("passthrough:///"+*to, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	a := &attacker{client: controlpb.NewControlClient(conn), with: *with}
	a.report.Ends = map[string]int{}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*seconds*float64(time.Second)))
	for ctx.Err() == nil {
		end := a.stream(ctx)
		if ctx.Err() == nil {
			a.report.Ends[end]++
			if a.with != "describe" {
				time.Sleep(5 * time.Millisecond) // one that was thrown out comes back, but not in a loop of its own making
			}
		}
	}
	cancel()
	_ = conn.Close()
	_ = json.NewEncoder(os.Stdout).Encode(a.report)
}

// stream opens one stream and floods until it ends; it returns why.
func (a *attacker) stream(ctx context.Context) string {
	if a.with == "describe" {
		return a.describe(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := a.client.Session(ctx)
	if err != nil {
		return err.Error()
	}
	self := types.NewInstanceID()
	hello := &controlpb.Event{Kind: &controlpb.Event_Hello{Hello: &controlpb.Hello{
		Instance: self[:], ProtocolMin: 1, ProtocolMax: 1, SessionNumber: 1, Nonce: make([]byte, 32),
	}}}
	if err := s.Send(hello); err != nil {
		return err.Error()
	}
	first, err := s.Recv()
	if err != nil {
		return err.Error()
	}
	if r := first.GetRefused(); r != nil {
		return fmt.Sprintf("refused %d", r.GetCode())
	}
	a.report.Sessions++
	end := make(chan string, 1)
	var received atomic.Uint64
	go func() { end <- receive(s, &received) }()
	for n := uint64(1); ; n++ {
		if err := s.Send(a.event(n)); err != nil {
			break
		}
		a.report.Sent++
		if a.with == "hello" {
			break // a new session each time
		}
	}
	if a.with == "hello" {
		_ = s.CloseSend()
		cancel()
	}
	why := <-end
	a.report.Received += received.Load()
	return why
}

func receive(s controlpb.Control_SessionClient, n *atomic.Uint64) string {
	why := "end of stream"
	for {
		ev, err := s.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return err.Error()
			}
			return why
		}
		n.Add(1)
		if bye := ev.GetBye(); bye != nil {
			why = fmt.Sprintf("bye %d", bye.GetCode())
		}
	}
}

func (a *attacker) describe(ctx context.Context) string {
	self := types.NewInstanceID()
	s, err := a.client.Describe(ctx, &controlpb.DescribeRequest{Caller: self[:], Nonce: make([]byte, 32)})
	if err != nil {
		return err.Error()
	}
	a.report.Sent++
	for {
		if _, err := s.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return "described"
			}
			return err.Error()
		}
		a.report.Received++
	}
}

// event is the n-th message of a flood: valid in form, wrong in amount, and about things that do not exist.
func (a *attacker) event(n uint64) *controlpb.Event {
	switch a.with {
	case "attach":
		return &controlpb.Event{Kind: &controlpb.Event_Attach{Attach: &controlpb.Attach{Request: n, Connections: 16, Transport: "tcp"}}}
	case "grant_query":
		return &controlpb.Event{Kind: &controlpb.Event_GrantQuery{GrantQuery: &controlpb.GrantQuery{Id: n}}}
	case "notify":
		return &controlpb.Event{Kind: &controlpb.Event_Notify{Notify: &controlpb.Notify{Nonce: n, Payload: make([]byte, 64<<10), Tag: "flood"}}}
	case "retire":
		return &controlpb.Event{Kind: &controlpb.Event_Retire{Retire: &controlpb.Retire{Nonce: n, Tokens: []uint64{n, n + 1, n + 2}}}}
	case "drain":
		return &controlpb.Event{Kind: &controlpb.Event_Drain{Drain: &controlpb.Drain{Ids: []uint64{n}, Version: n, WithinNs: 1, Nonce: n}}}
	}
	return &controlpb.Event{Kind: &controlpb.Event_Ping{Ping: &controlpb.Ping{Nonce: n}}}
}
