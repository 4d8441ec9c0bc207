// dicomweb-client (npm), the library under OHIF: its everyday calls, in the browser it is made for.

const fs = require("fs");
const { http, open, run } = require("./common.js");

run(async () => {
  const { browser, page, foreign } = await open({ bypassCSP: true });
  // Any page of the node will do: the library's requests come from its origin, as a viewer's do.
  await page.goto(`${http}/healthz`);
  const library = fs.readFileSync(require.resolve("dicomweb-client/build/dicomweb-client.js"), "utf8");
  await page.addScriptTag({ content: library });
  const failed = await page.evaluate(everydayCalls, `${http}/dicom-web`);
  console.log(failed.join("\n") || "dicomweb-client (npm): every call answered");
  await browser.close();
  if (foreign.length > 0) throw new Error(`asks other servers: ${foreign.slice(0, 5)}`);
  if (failed.length > 0) throw new Error(`${failed.length} calls failed`);
});

// Runs inside the page. Returns what went wrong.
async function everydayCalls(url) {
  const { api } = window.DICOMwebClient;
  const client = new api.DICOMwebClient({ url, singlepart: "" });
  const single = new api.DICOMwebClient({ url, singlepart: "bulkdata,video,pdf" });
  const failed = [];
  const expect = (what, right) => {
    if (!right) failed.push(what);
  };
  const call = async (name, work) => {
    try {
      await work();
    } catch (error) {
      failed.push(`${name}: ${error} ${error.status ?? ""}`);
    }
  };
  const text = (row, tag) => row[tag]?.Value?.[0];
  const starts = (buffer, ...bytes) => bytes.every((byte, at) => new Uint8Array(buffer)[at] === byte);
  const of = async (modality) => {
    const [study] = await client.searchForStudies({ queryParams: { ModalitiesInStudy: modality } });
    const studyInstanceUID = text(study, "0020000D");
    const [series] = await client.searchForSeries({ studyInstanceUID, queryParams: { Modality: modality } });
    const seriesInstanceUID = text(series, "0020000E");
    const instances = await client.searchForInstances({ studyInstanceUID, seriesInstanceUID });
    const sopInstanceUID = text(instances[0], "00080018");
    return { instances, one: { studyInstanceUID, seriesInstanceUID, sopInstanceUID } };
  };

  await call("search", async () => {
    expect("searchForStudies", (await client.searchForStudies()).length >= 4);
    expect("searchForSeries", (await client.searchForSeries()).length >= 6);
    expect("searchForInstances", (await client.searchForInstances({ queryParams: { limit: 5 } })).length === 5);
    const found = await client.searchForStudies({ queryParams: { PatientName: "*张*", fuzzymatching: true } });
    expect("a Chinese name", found.length === 1 && text(found[0], "00100010").Ideographic === "张^伟");
    expect("nobody", (await client.searchForStudies({ queryParams: { PatientID: "NOBODY" } })).length === 0);
  });
  await call("metadata and objects", async () => {
    const { one, instances } = await of("MR");
    const count = instances.length;
    expect("retrieveStudyMetadata", (await client.retrieveStudyMetadata(one)).length === count);
    expect("retrieveSeriesMetadata", (await client.retrieveSeriesMetadata(one)).length === count);
    const [metadata] = await client.retrieveInstanceMetadata(one);
    expect("retrieveInstanceMetadata", text(metadata, "00080018") === one.sopInstanceUID);
    const dicm = (buffer) => starts(buffer.slice(128), 0x44, 0x49, 0x43, 0x4d);
    const file = await client.retrieveInstance(one);
    expect("retrieveInstance", dicm(file));
    for (const [name, files] of [
      ["retrieveSeries", await client.retrieveSeries(one)],
      ["retrieveStudy", await client.retrieveStudy(one)],
    ]) {
      expect(name, files.length === count && files.every(dicm));
    }
    const { BulkDataURI } = metadata["7FE00010"];
    const length = text(metadata, "00280010") * text(metadata, "00280011") * 2;
    for (const [name, parts] of [
      ["retrieveBulkData", await client.retrieveBulkData({ BulkDataURI })],
      ["retrieveBulkData, single part", await single.retrieveBulkData({ BulkDataURI })],
      ["retrieveInstanceFrames", await client.retrieveInstanceFrames({ ...one, frameNumbers: [1] })],
    ]) {
      expect(name, parts.length === 1 && parts[0].byteLength === length);
    }
    const wado = await fetch(client.buildInstanceWadoURIUrl(one));
    expect(`buildInstanceWadoURIUrl: ${wado.status}`, wado.ok && dicm(await wado.arrayBuffer()));
  });
  await call("frames", async () => {
    const { one } = await of("US");
    for (const mediaTypes of [
      [{ mediaType: "image/jpeg", transferSyntaxUID: "1.2.840.10008.1.2.4.50" }],
      [{ mediaType: "image/jpeg", transferSyntaxUID: "*" }],
      [
        { mediaType: "application/octet-stream", transferSyntaxUID: "1.2.840.10008.1.2.1" },
        { mediaType: "image/jpeg", transferSyntaxUID: "1.2.840.10008.1.2.4.50" },
      ],
    ]) {
      const frames = await client.retrieveInstanceFrames({ ...one, frameNumbers: [2, 30], mediaTypes });
      expect(`frames as ${JSON.stringify(mediaTypes)}`, frames.length === 2 && starts(frames[0], 0xff, 0xd8));
    }
    const [frame] = await client.retrieveInstanceFramesRendered({
      ...one,
      frameNumbers: [3],
      mediaTypes: [{ mediaType: "image/png" }],
    });
    expect("retrieveInstanceFramesRendered", starts(frame, 0x89, 0x50));
    const [small] = await client.retrieveInstanceFramesThumbnail({
      ...one,
      frameNumbers: [3],
      mediaTypes: [{ mediaType: "image/jpeg" }],
    });
    expect("retrieveInstanceFramesThumbnail", starts(small, 0xff, 0xd8));
  });
  await call("rendered", async () => {
    const { one } = await of("CT");
    const [image] = await client.retrieveInstanceRendered({ ...one, mediaTypes: [{ mediaType: "image/jpeg" }] });
    expect("retrieveInstanceRendered", starts(image, 0xff, 0xd8));
    const [scaled] = await client.retrieveInstanceRendered({
      ...one,
      mediaTypes: [{ mediaType: "image/png" }],
      queryParams: { viewport: "100,100", window: "40,400,linear", quality: 80 },
    });
    expect("retrieveInstanceRendered with a window", starts(scaled, 0x89, 0x50));
    const [plain] = await client.retrieveInstanceRendered(one);
    expect("retrieveInstanceRendered, any type", plain.byteLength > 100);
    const [thumbnail] = await client.retrieveInstanceThumbnail(one);
    expect("retrieveInstanceThumbnail", starts(thumbnail, 0xff, 0xd8));
  });
  await call("store", async () => {
    const { one } = await of("SR");
    const file = await client.retrieveInstance(one);
    // The same again: acknowledged, and still one instance.
    const answer = await client.storeInstances({ datasets: [file] });
    const body = typeof answer === "string" ? JSON.parse(answer) : answer;
    expect("storeInstances", text(body, "00081199")?.["00081155"].Value[0] === one.sopInstanceUID);
    const again = await client.storeInstances({ datasets: [file], studyInstanceUID: one.studyInstanceUID });
    expect("storeInstances into the study", again !== undefined);
  });
  return failed;
}
