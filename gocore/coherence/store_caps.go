package coherence

// SetCaps corrects what the store was taken for before it had answered. It is for the time before the first record was
// read: an ownership keeps the rules under which it was acquired.
func (p *Publisher) SetCaps(c StoreCaps) {
	if p.state != Owning {
		p.cfg.Caps = c
	}
}

// SetEpochs does the same for a Directory.
func (d *Directory) SetEpochs(epochs bool) { d.cfg.Epochs = epochs }
