package mls

var refusalsCodec = []refusal{}
