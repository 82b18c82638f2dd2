// Command helper lets the tests of tests/stock use our side of the formats without an engine:
//
//	helper encode < {"name", "protocol", "tcp_host", "tcp_port", "rpc_port", "devices", "buffers"}   keys and values
//	helper decode KEY < DOCUMENT                                          the descriptor, as `describe --json` shows it
//	helper serve                                                     our metadata server, until standard input ends
//
// Each prints JSON; a refusal is {"error": "..."} and status 1.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/metaserver"
	"mooncake_te/gocore/types"
)

// segment is what encode reads.
type segment struct {
	Name     string              `json:"name"`
	Protocol string              `json:"protocol"`
	TCPHost  string              `json:"tcp_host"`
	TCPPort  uint16              `json:"tcp_port"`
	RPCPort  uint16              `json:"rpc_port"`
	Devices  []descriptor.Device `json:"devices"`
	Buffers  []descriptor.Buffer `json:"buffers"`
}

type keyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func main() {
	var out any
	err := fmt.Errorf("usage: helper encode|decode|serve")
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "encode":
			out, err = encode()
		case "decode":
			out, err = decode(os.Args[2:])
		case "serve":
			err = serve()
		}
	}
	if err != nil {
		out = map[string]string{"error": err.Error()}
	}
	if out != nil {
		_ = json.NewEncoder(os.Stdout).Encode(out)
	}
	if err != nil {
		os.Exit(1)
	}
}

func encode() ([]keyValue, error) {
	var s segment
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return nil, err
	}
	d := &descriptor.Descriptor{
		Head:    descriptor.Head{Name: s.Name, Instance: types.NewInstanceID(), Version: types.Version(time.Now().UnixMicro()), Devices: s.Devices},
		Buffers: s.Buffers,
	}
	kvs, err := descriptor.EncodeStock(d, descriptor.StockOptions{
		Protocol: s.Protocol, TCPHost: s.TCPHost, TCPPort: s.TCPPort, Now: time.Now(),
		RPC: descriptor.StockRPC{Host: s.TCPHost, Port: s.RPCPort},
	})
	out := []keyValue{}
	for _, kv := range kvs {
		out = append(out, keyValue{kv.Key, string(kv.Value)})
	}
	return out, err
}

func decode(args []string) (*descriptor.Shown, error) {
	document, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	key := ""
	if len(args) > 0 {
		key = args[0]
	}
	d, legacy, err := descriptor.DecodeStock(key, document)
	if err != nil {
		return nil, err
	}
	shown := descriptor.Show(d, legacy)
	return &shown, nil
}

func serve() error {
	server, err := metaserver.Start(metaserver.Options{Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	fmt.Println(server.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Close()
}
