package main

type pluginCommand struct {
	Check  pluginCheckCommand  `cmd:"" help:"Hold a plugin to the interface and the contract, and say what to change."`
	New    pluginNewCommand    `cmd:"" help:"Begin a plugin: a folder that builds and passes the check."`
	Worker pluginWorkerCommand `cmd:"" hidden:""`
}
