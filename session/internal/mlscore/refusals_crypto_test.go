package mls

var refusalsCrypto = []refusal{}
