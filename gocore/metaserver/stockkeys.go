package metaserver

import "slices"

// put stores a stock value, on an owner's lease if there is one. Whoever held the key before holds it no more: as in
// etcd, the last writer has it. Room was checked.
func (t *table) put(key string, data []byte, holder *entry) {
	v := t.values[key]
	if v == nil {
		v = &value{}
		t.values[key] = v
		t.bytes += int64(len(key))
	}
	v.letGo(key)
	t.bytes += int64(len(data) - len(v.data))
	v.data, v.holder = data, holder
	if holder != nil {
		holder.held = append(holder.held, key)
	}
}

// remove deletes a stock value that is there.
func (t *table) remove(key string) {
	v := t.values[key]
	v.letGo(key)
	t.bytes -= int64(len(key) + len(v.data))
	delete(t.values, key)
}

// letGo takes the value off the lease that it lies on, if it does.
func (v *value) letGo(key string) {
	if v.holder != nil {
		v.holder.held = slices.DeleteFunc(v.holder.held, func(k string) bool { return k == key })
		v.holder = nil
	}
}

func (t *table) getStock(key string) ([]byte, bool) {
	t.lock()
	defer t.mu.Unlock()
	if v := t.values[key]; v != nil {
		return v.data, true
	}
	return nil, false
}

// putStock is a stock client's PUT. refuse looks at the value that lies there.
func (t *table) putStock(key string, data []byte, refuse func(present []byte) error) error {
	t.lock()
	defer t.mu.Unlock()
	more := int64(len(key) + len(data))
	if v := t.values[key]; v != nil {
		if err := refuse(v.data); err != nil {
			return err
		}
		more = int64(len(data) - len(v.data))
	} else if len(t.values) >= t.limits.keys {
		return full("%d stock keys", t.limits.keys)
	}
	if err := t.room(more); err != nil {
		return err
	}
	t.put(key, data, nil)
	return nil
}

// deleteStock is a stock client's DELETE; it reports whether the key was there.
func (t *table) deleteStock(key string) bool {
	t.lock()
	defer t.mu.Unlock()
	if t.values[key] == nil {
		return false
	}
	t.remove(key)
	return true
}
