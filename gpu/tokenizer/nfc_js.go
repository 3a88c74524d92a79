package tokenizer

import "syscall/js"

// nfc is Unicode's canonical composition, which JavaScript has: the tables would be a twenty-fifth of the download.
func nfc(text string) string { return js.ValueOf(text).Call("normalize", "NFC").String() }
