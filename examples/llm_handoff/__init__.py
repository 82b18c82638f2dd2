"""A language model's KV cache goes from the process that computed it to the one that decodes from it.

`demo` coordinates two processes, `prefill` and `decode`; `model` and `kvcache` know the language model, `channel` and
`processes` are the application's own plumbing. What mooncake_te does is in `prefill.work` and `decode.fetch`.
"""
