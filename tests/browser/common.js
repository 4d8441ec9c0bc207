// Chromium without a sandbox, GPU or calls home, and a page that remembers what went wrong on it.

const crypto = require("crypto");
const path = require("path");
const { chromium } = require("playwright-core");

const http = process.env.QIANLI_HTTP;

function artefact(name) {
  return path.join(process.env.QIANLI_ARTIFACTS, name);
}

async function open(options) {
  const browser = await chromium.launch({
    executablePath: process.env.QIANLI_TEST_CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--enable-unsafe-swiftshader",
    ],
  });
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const errors = [];
  const foreign = [];
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(`${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("response", (response) => {
    if (response.status() >= 400) errors.push(`${response.status()} ${response.url()}`);
  });
  page.on("request", (request) => {
    const url = request.url();
    if (/^https?:/.test(url) && !url.startsWith(http)) foreign.push(url);
  });
  return { browser, page, errors, foreign };
}

// Standard deviation of the brightness of a PNG, decoded by the browser itself.
async function variation(page, png) {
  return page.evaluate(async (base64) => {
    const image = new Image();
    image.src = `data:image/png;base64,${base64}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.width;
    canvas.height = image.height;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    let sum = 0;
    let squares = 0;
    const count = data.length / 4;
    for (let at = 0; at < data.length; at += 4) {
      const grey = (data[at] + data[at + 1] + data[at + 2]) / 3;
      sum += grey;
      squares += grey * grey;
    }
    return Math.sqrt(squares / count - (sum / count) ** 2);
  }, png.toString("base64"));
}

// The code that a phone shows for a secret in base32 (RFC 6238), `steps` after now.
function code(secret, steps) {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...secret.replace(/ /g, "")].map((letter) => letters.indexOf(letter).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000) + steps));
  const digest = crypto.createHmac("sha1", key).update(counter).digest();
  const number = digest.readUInt32BE(digest[19] & 15) & 0x7fffffff;
  return String(number % 1000000).padStart(6, "0");
}

function run(main) {
  main().then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}

module.exports = { artefact, code, http, open, run, variation };
