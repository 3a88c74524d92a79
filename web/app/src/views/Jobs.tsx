// Compositions that run at the server.
import { useEffect, useState } from "preact/hooks";
import { faultOf } from "../domain";
import type { Output } from "../search/output";
import { download } from "../state/download";
import { cancelJob, ended, jobs, leaveJobs, loadJobs, wholeJob, wordsOf, type Job } from "../state/jobs";
import { client } from "../state/session";
import { notify, store, type Run } from "../state/store";
import { Banner, Button, Confirm, count, digits, Empty, Progress } from "../ui/parts";
import { OutputView } from "./Output";
import { NeedsServer } from "./NeedsServer";

export function Jobs() {
  const { list, loading, problem, trouble } = jobs.value;
  const session = store.session.value;
  useEffect(() => {
    if (session) {
      void loadJobs();
    }
    return leaveJobs;
  }, [session?.token]);
  const [open, setOpen] = useState<Job>();
  return (
    <>
      <h1 tabIndex={-1}>Jobs</h1>
      <p class="lead">Searches that run at the server to their end, whether this page is open or not.</p>
      <NeedsServer what="jobs">
        {trouble && <Banner kind="wait">{trouble.message}</Banner>}
        {problem && <Banner kind="bad">{problem} <Button onClick={() => void loadJobs()}>Try again</Button></Banner>}
        {list.length === 0 && !loading && !problem && <Empty title="No jobs yet">Set up a search with the server's modules and choose “Run as a job”.</Empty>}
        <ul class="items" aria-busy={loading}>{list.map((j) => <JobItem key={j.id} job={j} onOpen={setOpen} />)}</ul>
        {open && <JobResult job={open} />}
      </NeedsServer>
    </>
  );
}

function JobItem({ job, onOpen }: { job: Job; onOpen: (job: Job) => void }) {
  const [asking, setAsking] = useState(false);
  const best = jobs.value.best[job.id];
  const show = async () => {
    try {
      onOpen(await wholeJob(job.id));
    } catch (e) {
      notify("bad", faultOf(e).message);
    }
  };
  return (
    <li class="card item">
      <div class="row spread wrap">
        <span><span class={`state ${job.state}`}>{job.canceled && !ended(job) ? "ending" : job.state}</span> <time dateTime={job.created}>{new Date(job.created).toLocaleString()}</time></span>
        <span class="row wrap">
          {(best !== undefined || !ended(job)) && <span class="muted">{!ended(job) && <>{job.done} of {count(job.budget, "evaluation")}</>}{best !== undefined && <>{ended(job) ? "" : ", "}best objective {digits(best)}</>}</span>}
          {job.state === "succeeded" || job.adapter ? <Button onClick={() => void show()}>Result</Button> : null}
          {!ended(job) && <Button disabled={job.canceled} onClick={() => setAsking(true)}>End early</Button>}
        </span>
      </div>
      {!ended(job) && <Progress label="The job" share={job.done / Math.max(1, job.budget)} />}
      {job.problem && <Banner kind="bad">{job.problem.detail}</Banner>}
      {asking && (
        <Confirm title="End this job early?" action="End it" onNo={() => setAsking(false)} onYes={() => { setAsking(false); void cancelJob(job.id); }}>
          What it found so far is kept.
        </Confirm>
      )}
    </li>
  );
}

function JobResult({ job }: { job: Job }) {
  const output = job.result as unknown as Output | undefined;
  const [words, setWords] = useState<Run["words"]>(null);
  useEffect(() => {
    setWords(null);
    wordsOf(job).then(setWords).catch(() => undefined); // the rest of the result stands without
  }, [job.id]);
  const fetch = async (what: string, name: string, type: string) => {
    try {
      download(name, await client.blob(`/v1/compositions/${job.id}/${what}`), type);
    } catch (e) {
      notify("bad", faultOf(e).message);
    }
  };
  if (!output?.composed) {
    return <Banner kind="info">This job has no result.</Banner>;
  }
  return (
    <section class="job-result" aria-label="Result of the job">
      <OutputView output={output} title="Result of the job" targets={job.request?.examples ?? []} words={words}>
        <div class="card">
          <h2>Take it with you</h2>
          <div class="row wrap">
            <Button kind="main" onClick={() => void fetch("adapter", `${job.id}.zip`, "application/zip")}>Download the adapter</Button>
            <Button onClick={() => void fetch("report", `${job.id}.html`, "text/html")}>Report</Button>
          </div>
        </div>
      </OutputView>
    </section>
  );
}
