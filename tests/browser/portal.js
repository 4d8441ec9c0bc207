// Opens our own pages in both languages and two sizes; fails on any console error, failed request,
// call to another server, sideways scrolling, table that is cut off on a phone or page without studies.

const { artefact, http, open, run } = require("./common.js");

const sizes = { desk: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };
const pages = { start: "/", studies: "/studies", api: "/api", devices: "/peers", device: "/peers/row/1", destination: "/peers/destinations/CT1" };
const markers = { "zh-CN": /[\u4e00-\u9fff]/, en: /[A-Za-z]{3}/ };

run(async () => {
  const problems = [];
  const texts = {};
  for (const language of Object.keys(markers)) {
    for (const [size, viewport] of Object.entries(sizes)) {
      const { browser, page, errors, foreign } = await open({
        locale: language,
        viewport,
        hasTouch: size === "phone",
        isMobile: size === "phone",
      });
      for (const [name, address] of Object.entries(pages)) {
        const where = `${name} ${language} ${size}`;
        const answer = await page.goto(http + address, { waitUntil: "networkidle" });
        if (!answer.ok()) problems.push(`${where}: HTTP ${answer.status()}`);
        await page.screenshot({ path: artefact(`portal-${name}-${language}-${size}.png`), fullPage: true });
        const text = await page.evaluate(() => document.body.innerText);
        texts[where] = text;
        if (!markers[language].test(text)) problems.push(`${where}: not in its language`);
        const declared = await page.evaluate(() => document.documentElement.lang);
        if (!declared.toLowerCase().startsWith(language.slice(0, 2))) {
          problems.push(`${where}: <html lang="${declared}">`);
        }
        const wide = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        if (wide > 1) problems.push(`${where}: scrolls ${wide} px sideways`);
        const cut = await page.evaluate(
          () => [...document.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth + 1).length,
        );
        if (size === "phone" && cut > 0) problems.push(`${where}: ${cut} tables are cut off`);
        if (name === "studies") {
          const links = await page.locator("a[href*='viewer'], a[href*='StudyInstanceUIDs'], tr, li").count();
          if (links < 2) problems.push(`${where}: no studies are listed`);
        }
      }
      errors.forEach((error) => problems.push(`${language} ${size}: ${error}`));
      foreign.forEach((url) => problems.push(`${language} ${size}: asks another server: ${url}`));
      await browser.close();
    }
  }
  if (texts["start zh-CN desk"] === texts["start en desk"]) problems.push("both languages say the same");
  console.log(`${Object.keys(texts).length} pages opened, ${problems.length} problems`);
  if (problems.length > 0) throw new Error(problems.join("\n"));
});
