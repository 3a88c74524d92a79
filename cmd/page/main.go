//go:build js

// Command page is Medley's engine for web pages: built for GOOS=js, it registers one global object, medley, whose functions return
// promises. They block the thread that they run on, so they belong in a Web Worker; web/worker.js and web/medley.js run them there.
//
//	medley.open(files, {backend}) -> model   files: {path: Uint8Array}, a Hugging Face folder; backend: auto, webgpu, simd, reference
//	model.backend, .device, .reason, .candidates, .maps       what runs and why, and the linear maps by name, {in, out}
//	model.addModule(name, files) -> {layers}                  a PEFT folder with safetensors
//	model.score(examples, weights, {method}) -> [{loss, examples, logProbs}]    one per weight vector
//	model.generate(inputs, weights, onToken, {method, maxTokens, temperature, topK, topP, seed}) -> [{ids, text}]
//	model.tokens(examples) -> [{input, output, warning}]      how many tokens an input has, the texts of the output's, and what was cut
//	model.close()
//	medley.compose(modules, {method, rank, base}) -> {archive, sha256, rank, difference}      modules: [{files, weight}]
//
// Examples are {input, output}; a weight vector has one number per module, in the order in which they were added. method is delta
// (default) or product. loss is the mean cross-entropy per target token, examples the same for each example, and logProbs[i] the natural
// log-probabilities of example i's target tokens, the end token included. onToken(input, id, text) hears of each token as it comes.
//
// archive is a zip archive of the composed adapter as PEFT loads it, difference how far the adapter, read back, is from the method's definition:
// {max_abs, relative}, and relative is null where it is no number.
//
// The files are read from JavaScript's memory when they are needed and must not change while the model is open. Errors are Error
// objects with a code (as shared/fault has them) and a field.
package main

import "syscall/js"

func main() {
	js.Global().Set("medley", js.ValueOf(map[string]any{"open": method(open), "compose": method(composeModules)}))
	select {} // what is registered runs from now on
}
