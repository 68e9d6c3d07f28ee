package mls

var refusalsWelcome = []refusal{}
