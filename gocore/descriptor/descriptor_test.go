package descriptor

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func sample() *Descriptor {
	return &Descriptor{
		Head: Head{
			Name: "decode-0", Instance: types.InstanceID{1, 2, 3}, Epoch: 7, StoreID: strings.Repeat("0a", 16),
			Version: 42, Addresses: []string{"127.0.0.1:7000", "[::1]:7000"}, Data: []string{"node-a.example:7001"},
		},
		Buffers: []Buffer{
			{ID: 1, Length: 4096, State: types.Ready, Perm: types.PermRead, Label: "kv", Location: "cpu:0"},
			{ID: 9, Length: 1, State: types.Draining, Perm: types.PermReadWrite, Location: "*"},
		},
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	require.NoError(t, sample().Validate())
	require.NoError(t, (&Descriptor{Head: Head{Instance: types.InstanceID{1}, Version: 1}}).Validate())
	for name, c := range map[string]struct {
		break_ func(*Descriptor)
		says   string
	}{
		"instance":        {func(d *Descriptor) { d.Instance = types.InstanceID{} }, "no instance ID"},
		"version zero":    {func(d *Descriptor) { d.Version = 0 }, "version 0"},
		"version huge":    {func(d *Descriptor) { d.Version = MaxVersion }, "metadata version"},
		"long name":       {func(d *Descriptor) { d.Name = strings.Repeat("x", MaxNameLen+1) }, "segment name"},
		"control in name": {func(d *Descriptor) { d.Name = "a\nb" }, "segment name"},
		"bad utf-8":       {func(d *Descriptor) { d.Name = "a\xff" }, "segment name"},
		"short store":     {func(d *Descriptor) { d.StoreID = "0a" }, "store ID"},
		"upper store":     {func(d *Descriptor) { d.StoreID = strings.Repeat("0A", 16) }, "store ID"},
		"many addresses":  {func(d *Descriptor) { d.Addresses = slices.Repeat([]string{"a:1"}, MaxAddresses+1) }, "control addresses"},
		"no port":         {func(d *Descriptor) { d.Addresses[0] = "127.0.0.1" }, "host:port"},
		"port zero":       {func(d *Descriptor) { d.Data[0] = "h:0" }, "data address"},
		"port range":      {func(d *Descriptor) { d.Data[0] = "h:1-2" }, "data address"},
		"bare v6":         {func(d *Descriptor) { d.Data[0] = "::1:70" }, "data address"},
		"half bracket":    {func(d *Descriptor) { d.Data[0] = "[::1:70" }, "data address"},
		"id zero":         {func(d *Descriptor) { d.Buffers[0].ID = 0 }, "buffer 0"},
		"id twice":        {func(d *Descriptor) { d.Buffers[1].ID = 1 }, "ascending"},
		"unsorted":        {func(d *Descriptor) { d.Buffers[0].ID = 10 }, "ascending"},
		"no bytes":        {func(d *Descriptor) { d.Buffers[1].Length = 0 }, "buffer 9 has no bytes"},
		"no permission":   {func(d *Descriptor) { d.Buffers[0].Perm = 0 }, "permission"},
		"odd permission":  {func(d *Descriptor) { d.Buffers[0].Perm = 4 }, "permission"},
		"label":           {func(d *Descriptor) { d.Buffers[0].Label = strings.Repeat("x", MaxLabelLen+1) }, "label"},
		"own label":       {func(d *Descriptor) { d.Label = "a\x7f" }, "label"},
		"count":           {func(d *Descriptor) { d.Head.Buffers = 3 }, "buffer_count is 3, and there are 2"},
		"digest":          {func(d *Descriptor) { d.Head.Digest = "5e" }, "digest"},
		"device":          {func(d *Descriptor) { d.Devices = []Device{{}} }, "device 0"},
		"device quoted":   {func(d *Descriptor) { d.Devices = []Device{{Name: `"mlx5_0"`}} }, "device 0"},
		"gid":             {func(d *Descriptor) { d.Devices = []Device{{Name: "a", GID: "\xff"}} }, "gid"},
		"many devices":    {func(d *Descriptor) { d.Devices = slices.Repeat([]Device{{Name: "a"}}, MaxDevices+1) }, "65 devices"},
		"keys":            {func(d *Descriptor) { d.Buffers[1].Keys = []uint32{1} }, "buffer 9 has 1 keys for 0 devices"},
		"end of memory":   {func(d *Descriptor) { d.Buffers[0].Addr = 1<<64 - 4095 }, "beyond the last address"},
		"location":        {func(d *Descriptor) { d.Buffers[0].Location = strings.Repeat("x", MaxLocationLen+1) }, "location"},
	} {
		t.Run(name, func(t *testing.T) {
			d := sample()
			c.break_(d)
			err := d.Validate()
			require.ErrorContains(t, err, c.says)
			require.True(t, errors.Is(err, &errcode.Error{Code: errcode.MetadataInvalid}))
		})
	}
}

func TestUnknownStateIsKept(t *testing.T) {
	d := sample()
	d.Buffers[0].State = 77
	require.NoError(t, d.Validate())
}

// The value was computed by a second implementation of the form (Python's hashlib and struct). The form is part of the protocol: this value may only change together with its domain string.
func TestDigestGolden(t *testing.T) {
	sum := sample().Digest()
	require.Equal(t, "fc506e1259f12936b59be797cdf41fdae000f3a52d1ae7c5f93a9c42c7242f6b", hex.EncodeToString(sum[:]))
}

func TestDigestGoldenExtension(t *testing.T) {
	d := sample()
	d.Label, d.Devices = "decoder", []Device{{Name: "mlx5_0", LID: 3, GID: "fe80::1"}, {Name: "mlx5_1"}}
	d.Buffers[0].Addr, d.Buffers[0].Keys = 4096, []uint32{1, 1<<32 - 1}
	require.NoError(t, d.Validate())
	require.Equal(t, "2f7badc4cee032ad60b891668e2ac382f5e1369797114f2c1f74dad01d9614ce", d.DigestText())
	d.Head.Buffers, d.Head.Digest = 2, d.DigestText()
	require.Equal(t, d.Head.Digest, d.DigestText(), "what follows from the rest takes no part")
}

func TestDigestSeesEveryField(t *testing.T) {
	seen := map[[32]byte]string{sample().Digest(): "unchanged"}
	for name, change := range map[string]func(*Descriptor){
		"name":         func(d *Descriptor) { d.Name += "x" },
		"instance":     func(d *Descriptor) { d.Instance[15]++ },
		"epoch":        func(d *Descriptor) { d.Epoch++ },
		"store":        func(d *Descriptor) { d.StoreID = "" },
		"version":      func(d *Descriptor) { d.Version++ },
		"address":      func(d *Descriptor) { d.Addresses[0] = "127.0.0.1:7001" },
		"address gone": func(d *Descriptor) { d.Addresses = d.Addresses[:1] },
		"moved":        func(d *Descriptor) { d.Data, d.Addresses = append(d.Addresses[1:], d.Data...), d.Addresses[:1] },
		"id":           func(d *Descriptor) { d.Buffers[1].ID++ },
		"length":       func(d *Descriptor) { d.Buffers[1].Length++ },
		"state":        func(d *Descriptor) { d.Buffers[1].State = types.Ready },
		"perm":         func(d *Descriptor) { d.Buffers[1].Perm = types.PermRead },
		"label":        func(d *Descriptor) { d.Buffers[0].Label = "kvc"; d.Buffers[0].Location = "pu:0" },
		"location":     func(d *Descriptor) { d.Buffers[0].Location = "cpu:1" },
		"buffer gone":  func(d *Descriptor) { d.Buffers = d.Buffers[:1] },
		"own label":    func(d *Descriptor) { d.Label = "x" },
		"device":       func(d *Descriptor) { d.Devices = []Device{{Name: "x"}} },
		"devices":      func(d *Descriptor) { d.Devices = []Device{{Name: "x"}, {Name: "x"}} },
		"lid":          func(d *Descriptor) { d.Devices = []Device{{Name: "x", LID: 1}} },
		"gid":          func(d *Descriptor) { d.Devices = []Device{{Name: "x", GID: "1"}} },
		"memory":       func(d *Descriptor) { d.Buffers[0].Addr = 1 },
		"memory moved": func(d *Descriptor) { d.Buffers[1].Addr = 1 },
		"key":          func(d *Descriptor) { d.Buffers[0].Keys = []uint32{1} },
		"keys":         func(d *Descriptor) { d.Buffers[0].Keys = []uint32{1, 2} },
	} {
		d := sample()
		change(d)
		sum := d.Digest()
		require.NotContains(t, seen, sum, "%s looks like %s", name, seen[sum])
		seen[sum] = name
	}
}

func TestDigestOfManyBuffersIsThatOfOneStream(t *testing.T) {
	d := sample()
	for i := range 500 {
		d.Buffers = append(d.Buffers, Buffer{ID: types.BufferID(10 + i), Length: 1, State: types.Ready, Perm: types.PermRead, Label: strings.Repeat("l", i%200)})
	}
	require.NoError(t, d.Validate())
	before := d.Digest()
	require.Equal(t, before, d.Digest())
	d.Buffers[400].Label += "!"
	require.NotEqual(t, before, d.Digest())
}

func TestNewer(t *testing.T) {
	a, b := types.InstanceID{1}, types.InstanceID{2}
	s, other := strings.Repeat("0", 32), strings.Repeat("1", 32)
	for name, c := range map[string]struct {
		x, y              Head
		newer, comparable bool
	}{
		"same instance, no store":       {Head{Instance: a, Version: 2}, Head{Instance: a, Version: 1}, true, true},
		"same instance, equal":          {Head{Instance: a, Version: 2}, Head{Instance: a, Version: 2}, false, true},
		"same instance, older":          {Head{Instance: a, Version: 1}, Head{Instance: a, Version: 2}, false, true},
		"other instance, no store":      {Head{Instance: a, Version: 9}, Head{Instance: b, Version: 1}, false, false},
		"one store, epochs":             {Head{Instance: a, StoreID: s, Epoch: 2, Version: 1}, Head{Instance: b, StoreID: s, Epoch: 1, Version: 9}, true, true},
		"one store, epoch went back":    {Head{Instance: a, StoreID: s, Epoch: 1, Version: 9}, Head{Instance: a, StoreID: s, Epoch: 2, Version: 1}, false, true},
		"one store and epoch, versions": {Head{Instance: a, StoreID: s, Epoch: 1, Version: 9}, Head{Instance: a, StoreID: s, Epoch: 1, Version: 8}, true, true},
		"store went back unnoticed":     {Head{Instance: a, StoreID: s, Epoch: 1, Version: 9}, Head{Instance: b, StoreID: s, Epoch: 1, Version: 8}, false, false},
		"two stores, two instances":     {Head{Instance: a, StoreID: s, Epoch: 2, Version: 9}, Head{Instance: b, StoreID: other, Epoch: 1, Version: 8}, false, false},
		"two stores, one instance":      {Head{Instance: a, StoreID: s, Epoch: 1, Version: 9}, Head{Instance: a, StoreID: other, Epoch: 2, Version: 8}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			newer, comparable := Newer(&c.x, &c.y)
			require.Equal(t, c.newer, newer)
			require.Equal(t, c.comparable, comparable)
			back, _ := Newer(&c.y, &c.x)
			require.False(t, newer && back, "both are newer")
		})
	}
}

func TestNewerIsAnOrder(t *testing.T) {
	head := rapid.Custom(func(t *rapid.T) Head {
		return Head{
			Instance: types.InstanceID{rapid.ByteRange(1, 2).Draw(t, "instance")},
			StoreID:  strings.Repeat("0", 32),
			Epoch:    rapid.Uint64Range(0, 2).Draw(t, "epoch"), Version: types.Version(rapid.Uint64Range(1, 3).Draw(t, "version")),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		x, y, z := head.Draw(t, "x"), head.Draw(t, "y"), head.Draw(t, "z")
		xy, _ := Newer(&x, &y)
		yx, _ := Newer(&y, &x)
		yz, _ := Newer(&y, &z)
		xz, both := Newer(&x, &z)
		require.False(t, xy && yx)
		if xy && yz && both {
			require.True(t, xz)
		}
	})
}

func TestFind(t *testing.T) {
	d := sample()
	require.Equal(t, uint64(4096), d.Find(1).Length)
	require.Equal(t, types.Draining, d.Find(9).State)
	for _, id := range []types.BufferID{0, 2, 8, 10} {
		require.Nil(t, d.Find(id))
	}
	require.Nil(t, (&Descriptor{}).Find(1))
}
