// Ends the process when whoever started it is gone: standard input is a pipe that only the starter holds open.
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
