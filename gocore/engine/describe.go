package engine

import (
	"context"
	"time"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/describe"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
)

// DescribeName says what the store knows of a name and what its owner says of itself. It opens nothing and adopts nothing.
func (e *Engine) DescribeName(name string, timeout time.Duration) (*Task, error) {
	const op = "describe segment"
	if err := e.usable(op); err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = config.Millis(e.cfg.OpenTimeoutMS)
	}
	if e.meta == nil {
		return nil, e.errorf(errcode.InvalidArgument, op, "metadata is %q: there is no store to look into", e.cfg.Metadata).
			WithHint("give the URL of a metadata store, or open the segment by its address")
	}
	return e.run(func() (any, error) {
		ctx, cancel := context.WithTimeout(e.ctx, timeout)
		defer cancel()
		return describe.Name(ctx, e.meta.store, name, e.fetchDescriptor)
	}), nil
}

// fetchDescriptor asks exactly the instance of a head for its descriptor.
func (e *Engine) fetchDescriptor(ctx context.Context, head *descriptor.Head) (*descriptor.Descriptor, error) {
	if head.Instance == e.instance {
		return e.describe(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, config.Millis(e.cfg.DialTimeoutMS))
	defer cancel()
	return e.node.Describe(ctx, head.Addresses, head.Instance)
}
