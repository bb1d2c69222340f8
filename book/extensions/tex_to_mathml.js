// Reads a line of JSON for each formula, {"tex", "display"}, and answers {"mathml"} or {"error"}.
//     node tex_to_mathml.js FOLDER_OF_MATHJAX
const readline = require("readline");
const path = require("path");

const mathjax = require(path.join(process.argv[2], "node-main.js"));

mathjax.init({ loader: { load: ["input/tex"] } }).then(async (MathJax) => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { tex, display } = JSON.parse(line);
    const mathml = await MathJax.tex2mmlPromise(tex, { display });
    const error = mathml.match(/<merror data-mjx-error="([^"]*)"/);
    console.log(JSON.stringify(error ? { error: error[1] } : { mathml }));
  }
});
