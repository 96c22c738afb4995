// Runs a Python program in Pyodide: node load.mjs WHEELS FOLDER PROGRAM
//
// The wheels of one folder are installed, another folder's modules can be imported, and the
// program's variable `failures` becomes the exit status.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { loadPyodide } from "pyodide";

async function main(wheels, folder, program) {
  const environment = JSON.parse(process.env.PYODIDE_ENVIRONMENT);
  const pyodide = await loadPyodide({ env: { HOME: "/home/pyodide", ...environment } });
  for (const name of readdirSync(wheels)) {
    pyodide.unpackArchive(new Uint8Array(readFileSync(join(wheels, name))), "wheel");
  }
  pyodide.FS.mkdirTree("/program");
  pyodide.mountNodeFS("/program", folder);
  pyodide.runPython("import sys; sys.path.insert(0, '/program')");
  await pyodide.runPythonAsync(readFileSync(join(folder, program), "utf8"), { filename: program });
  return pyodide.globals.get("failures") === 0 ? 0 : 1;
}

// Node's own report would print a line of Pyodide's minified code, of a megabyte.
process.on("uncaughtException", (error) => {
  console.error(error.message);
  process.exit(1);
});
process.exit(await main(...process.argv.slice(2)));
