// dcmjs-dimse as a client and as a small archive. One command with its arguments as JSON:
//   node dcmjs.js echo|store|find|move|get|action|create|set|serve '{"port": …}'
// Prints what came back as lines of JSON. `serve` runs until standard input closes.
'use strict';

const fs = require('fs');
const path = require('path');
const { Client, Dataset, Scp, Server, constants, log, requests, responses } = require('dcmjs-dimse');
const { PresentationContextResult, Status, TransferSyntax } = constants;

log.setLevel('error');
const COMMITMENT = '1.2.840.10008.1.20.1';
const COMMITTED = '1.2.840.10008.1.20.1.1';
const [command, json] = process.argv.slice(2);
const wanted = JSON.parse(json);
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const fail = (error) => {
  process.stderr.write(`${error && error.stack ? error.stack : error}\n`);
  process.exitCode = 1;
};

// What the command asks for.
function wantedRequests() {
  const level = (wanted.level || 'study').replace(/^./, (letter) => letter.toUpperCase());
  switch (command) {
    case 'echo':
      return [new requests.CEchoRequest()];
    case 'store':
      return wanted.files.map((file) => new requests.CStoreRequest(file));
    case 'find':
      return [requests.CFindRequest[`create${level}FindRequest`](wanted.keys)];
    case 'move':
      return [requests.CMoveRequest.createStudyMoveRequest(wanted.to, wanted.study)];
    case 'get':
      return [requests.CGetRequest.createStudyGetRequest(wanted.study)];
    case 'action': {
      const one = new requests.NActionRequest(wanted.sopClass, wanted.instance, 1);
      one.setDataset(new Dataset(wanted.data));
      return [one];
    }
    case 'create': {
      const one = new requests.NCreateRequest(wanted.sopClass, wanted.instance);
      one.setDataset(new Dataset(wanted.data));
      return [one];
    }
    case 'set': {
      const one = new requests.NSetRequest(wanted.sopClass, wanted.instance);
      one.setDataset(new Dataset(wanted.data));
      return [one];
    }
    default:
      throw new Error(`no such command: ${command}`);
  }
}

function call() {
  const client = new Client();
  for (const one of wantedRequests()) {
    one.on('response', (response) => {
      const elements = response.hasDataset() ? response.getDataset().getElements() : undefined;
      const counts = response.getCompleted ? [response.getCompleted(), response.getFailures()] : undefined;
      say({ status: response.getStatus(), counts, elements });
    });
    client.addRequest(one);
  }
  client.on('cStoreRequest', (stored, callback) => {
    const data = stored.getDataset();
    data.toFile(path.join(wanted.folder, `${data.getElement('SOPInstanceUID')}.dcm`));
    const response = responses.CStoreResponse.fromRequest(stored);
    response.setStatus(Status.Success);
    callback(response);
  });
  client.on('nEventReportRequest', (report, callback) => {
    say({ report: report.getEventTypeId(), elements: report.getDataset().getElements() });
    const response = responses.NEventReportResponse.fromRequest(report);
    response.setStatus(Status.Success);
    callback(response);
  });
  client.on('associationRejected', (reject) => fail(`rejected: ${JSON.stringify(reject)}`));
  client.on('networkError', fail);
  client.send('127.0.0.1', wanted.port, wanted.calling, wanted.called, { associationLingerTimeout: wanted.linger || 100 });
}

class Archive extends Scp {
  associationRequested(association) {
    this.association = association;
    for (const { id } of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      const syntaxes = context.getTransferSyntaxUids();
      const known = [TransferSyntax.ExplicitVRLittleEndian, TransferSyntax.ImplicitVRLittleEndian, TransferSyntax.JpegBaseline];
      const chosen = known.find((one) => syntaxes.includes(one));
      if (chosen) {
        context.setResult(PresentationContextResult.Accept, chosen);
      } else {
        context.setResult(PresentationContextResult.RejectTransferSyntaxesNotSupported);
      }
    }
    this.sendAssociationAccept();
  }

  cEchoRequest(request, callback) {
    callback(this.done(responses.CEchoResponse.fromRequest(request)));
  }

  cStoreRequest(request, callback) {
    const data = request.getDataset();
    data.toFile(path.join(wanted.folder, `${data.getElement('SOPInstanceUID')}.dcm`));
    callback(this.done(responses.CStoreResponse.fromRequest(request)));
  }

  cFindRequest(request, callback) {
    const asked = request.getDataset().getElements();
    const found = responses.CFindResponse.fromRequest(request);
    found.setDataset(new Dataset({
      SpecificCharacterSet: 'ISO_IR 192',
      QueryRetrieveLevel: asked.QueryRetrieveLevel,
      PatientID: asked.PatientID,
      PatientName: 'Wang^XiaoDong=王^小东',
      StudyInstanceUID: '1.2.3.4',
    }));
    found.setStatus(Status.Pending);
    callback([found, this.done(responses.CFindResponse.fromRequest(request))]);
  }

  // What lies in its folder of a study.
  filesOf(request) {
    const study = request.getDataset().getElement('StudyInstanceUID');
    const files = fs.readdirSync(wanted.folder).map((name) => path.join(wanted.folder, name));
    return files.filter((file) => Dataset.fromFile(file).getElement('StudyInstanceUID') === study);
  }

  // Whatever the destination, it is the one that it was told of.
  cMoveRequest(request, callback) {
    const client = new Client();
    let [completed, failed] = [0, 0];
    for (const file of this.filesOf(request)) {
      const one = new requests.CStoreRequest(file);
      one.on('response', (response) => (response.getStatus() === Status.Success ? completed++ : failed++));
      client.addRequest(one);
    }
    client.on('networkError', (error) => process.stderr.write(`${error}\n`));
    client.on('closed', () => callback([this.counted(responses.CMoveResponse.fromRequest(request), completed, failed)]));
    client.send('127.0.0.1', wanted.us, 'DCMJS', request.getCommandDataset().getElement('MoveDestination'));
  }

  cGetRequest(request, callback) {
    const files = this.filesOf(request);
    let [completed, failed] = [0, 0];
    const stores = files.map((file) => {
      const one = new requests.CStoreRequest(file);
      one.on('response', (response) => {
        if (response.getStatus() === Status.Success) completed++;
        else failed++;
        if (completed + failed === files.length) {
          callback([this.counted(responses.CGetResponse.fromRequest(request), completed, failed)]);
        }
      });
      return one;
    });
    this.sendRequests(stores);
  }

  counted(response, completed, failed) {
    response.setRemaining(0);
    response.setCompleted(completed);
    response.setFailures(failed);
    response.setWarnings(0);
    return this.done(response);
  }

  // Has what lies in its folder, and reports on the association that asks.
  nActionRequest(request, callback) {
    callback(this.done(responses.NActionResponse.fromRequest(request)));
    const asked = request.getDataset().getElements();
    const list = Array.isArray(asked.ReferencedSOPSequence) ? asked.ReferencedSOPSequence : [asked.ReferencedSOPSequence];
    const items = [...list].map(({ ReferencedSOPClassUID, ReferencedSOPInstanceUID }) => ({
      ReferencedSOPClassUID,
      ReferencedSOPInstanceUID,
    }));
    const has = (one) => fs.existsSync(path.join(wanted.folder, `${one.ReferencedSOPInstanceUID}.dcm`));
    const lost = items.filter((one) => !has(one)).map((one) => ({ ...one, FailureReason: 0x0112 }));
    const data = { TransactionUID: asked.TransactionUID, ReferencedSOPSequence: items.filter(has) };
    if (lost.length) data.FailedSOPSequence = lost;
    const report = new requests.NEventReportRequest(COMMITMENT, COMMITTED, lost.length ? 2 : 1);
    report.setDataset(new Dataset(data));
    setTimeout(() => this.sendRequests([report]), 300);
  }

  done(response) {
    response.setStatus(Status.Success);
    return response;
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

if (command === 'serve') {
  fs.mkdirSync(wanted.folder, { recursive: true });
  const server = new Server(Archive);
  server.on('networkError', (error) => process.stderr.write(`${error}\n`));
  server.listen(wanted.port);
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
} else {
  call();
}
