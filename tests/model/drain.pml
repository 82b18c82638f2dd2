/* drain.pml: holders, floor, drain, acknowledgement, fence   (S2, S3, S4, S12, L1; README.md says what these are)
 *
 * One owner instance, one memory range, grants/registrations g1 then g2 at the same address and with the same key.
 * NP peer instances, each with two names that lead to the same owner instance. Each is drained in turn: g1, then g2.
 *
 * A pause or a crash of a peer at any point needs no action of its own: it is every run in which that peer takes no
 * further step while the network goes on delivering what it had posted.
 *
 * Choose the path with one of
 *   -DREG    registration on RDMA: the fence is the checked deregistration (key refused afterwards), QPs stay
 *   -DGRANT  grant on RDMA: shares the MR, the NIC does not know it: promise, else destruction of that peer's QPs
 *   -DTCP    the owner's handler checks the state per chunk
 * Mutants are M_*; LITERAL_* switch back to what the design said before it was repaired.
 *
 * "action: NAME" marks a transition that Go code carries out and names; gocore/internal/lint compares the two sets.
 */
#ifndef NP
#define NP 2
#endif
#ifndef ROUNDS
#define ROUNDS 2            /* drains: 1 = g1 only, 2 = g1 then g2 */
#endif
#ifndef NS
#define NS 1                /* operations of one peer at a time */
#endif
#ifndef QMAX
#define QMAX 2              /* paths (QPs or data connections) a peer makes during the run */
#endif

/* owner's metadata versions: 1 g1 READY, 2 g1 DRAINING, 3 g1 gone, 4 g2 READY, 5 g2 DRAINING, 6 g2 gone */
#define READYID(v) ((v)==1 -> 1 : ((v)==4 -> 2 : 0))
#define B(i) (1<<(i))

mtype = { HANDSHAKE, READY_ACK, DRAIN, DRAIN_ACK, RETIRE, RETIRED };
chan toO[NP] = [2] of { mtype, byte };          /* peer -> owner, the session's ordered stream */
chan toP[NP] = [2] of { mtype, byte, byte };    /* owner -> peer */
bool sess[NP];                                   /* session up */

/* ---- owner ---- */
byte ver = 1, floor = 0;
byte mem = 1;               /* whose bytes the range holds: 1 g1, 2 g2, 0 freed or given to somebody else */
byte mr = 1;                /* REG: which registration the key is good for, 0 none (keys are reused: LIFO) */
byte draining = 0;          /* id that is DRAINING or being fenced, 0 none */
byte gone = 0;              /* bit set of ids that are gone */
byte qps[NP];               /* bit set of this peer's paths alive at the owner: the holder set G */
byte lastq[NP];
byte W = 0;                 /* wait set of the running drain */
bool leftG[NP];              /* LITERAL_LEAVE: "a holder leaves G by acknowledgement" */
bool finished = false;
byte inchunk = 0;           /* TCP: slot+1 whose handler is inside user memory */

/* ---- peers ---- */
byte snap[NP];              /* version of the adopted descriptor, 0 none */
byte dsc[NP];               /* a Describe (or old store) answer on its way: separate call, not ordered with the session */
byte pfl[NP];               /* largest floor heard */
byte pq[NP], qfl[NP];       /* path in use, and the floor its handshake answered with */
bool hsw[NP];
byte prom[2*NP];            /* promises: gates closed for ever; index 2*p+name */
byte owe[NP];               /* DRAIN received, not acknowledged yet */
byte acked[NP];             /* (for the checks) DRAIN_ACK was sent */
byte retm[NP], rets[NP];    /* paths to retire; RETIRE sent in this session */
byte st[NP*NS];             /* 0 free, 1 entered the gate, 2 posted, 3 ended here (local quiet) but not known remotely quiet */
byte oid[NP*NS], over[NP*NS], oq[NP*NS];

#if defined(M_NO_FLOOR)
#define FLOOROK true
#define SUBMITOK true
#elif defined(M_FLOOR_AT_SUBMIT)
#define FLOOROK true
#define SUBMITOK (snap[p] >= pfl[p])
#elif defined(LITERAL_FLOOR)
#define FLOOROK (over[p*NS+s] >= pfl[p])
#define SUBMITOK true
#else
#define FLOOROK (over[p*NS+s] >= qfl[p])         /* repair: the floor belongs to the path */
#define SUBMITOK true
#endif
#if defined(LITERAL_ACK)
#define COUNTS(s) (st[s] != 0 && st[s] != 3)     /* text: "wait for the count 0": local quiet only */
#elif defined(M_ACK_AT_ONCE)
#define COUNTS(s) false
#else
#define COUNTS(s) (st[s] != 0)                   /* repair: what ended without remote quiet counts until RETIRED */
#endif
#ifdef SMALL               /* no eviction, no broken session */
#define MAYEVICT(p) false
#elif defined(NOEVICT)
#define MAYEVICT(p) false
#elif defined(M_EVICT_PROMISE)
#define MAYEVICT(p) true
#else
#define MAYEVICT(p) (pq[p] == 0 && !hsw[p])      /* with all its paths only */
#endif

#define HOLDER(p) (!leftG[p] && qps[p] != 0)

byte ti;                    /* scratch, always 0 between steps */

inline busy(p, id, res) {   /* anything of this peer on id that stops DRAIN_ACK */
  res = 0;
  ti = 0;
  do
  :: ti < NS ->
     if :: COUNTS(p*NS+ti) && oid[p*NS+ti] == id -> res = 1 :: else fi;
     ti++
  :: else -> break
  od;
  ti = 0
}

/* the largest floor heard matters only where the text's rule is modelled; the repaired rule needs the path's floor */
#if defined(LITERAL_FLOOR) || defined(M_FLOOR_AT_SUBMIT)
#define HEARD(y) if :: (y) > pfl[p] -> pfl[p] = (y) :: else fi
#else
#define HEARD(y) skip
#endif

/* ------------------------------------------------------------------ peer */
proctype Peer(byte p; byte s0) {
  byte a, b, r, n, s;
  end: do
  /* dial: HELLO carries the floor; an unfinished DRAIN is sent again */  /* action: drain.session_up */
  :: atomic { !sess[p] ->
       sess[p] = 1; HEARD(floor);
       if :: (W & B(p)) && draining -> toP[p]!DRAIN,draining,floor :: else fi }
  /* Describe: sampled now, arrives any time later */  /* action: drain.describe */
  :: d_step { sess[p] && dsc[p] == 0 && ver >= snap[p] -> dsc[p] = ver }
#ifdef M_DESCRIBE_SPLIT
  /* the answer is labelled with the version of later */
  :: d_step { dsc[p] == 1 && ver == 3 -> dsc[p] = 13 }
#endif
  /* action: drain.adopt */
  :: d_step { dsc[p] != 0 ->
       if :: dsc[p] > snap[p] -> snap[p] = dsc[p] :: else fi; dsc[p] = 0 }
  /* ask for a path */  /* action: drain.ask_path */
  :: atomic { sess[p] && !pq[p] && !hsw[p] && lastq[p] < QMAX && len(toO[p]) < 2 && snap[p] ->
       hsw[p] = 1; toO[p]!HANDSHAKE,0 }
  /* the path is dropped here; the owner's end lives on */  /* action: drain.path_dropped */
  :: d_step { pq[p] && !(st[p*NS] == 2 && oq[p*NS] == pq[p]) && (NS == 1 || !(st[p*NS+NS-1] == 2 && oq[p*NS+NS-1] == pq[p])) -> pq[p] = 0; qfl[p] = 0 }
  /* action: drain.path_up */
  :: atomic { toP[p]?READY_ACK,a,b -> pq[p] = a; qfl[p] = b; hsw[p] = 0; HEARD(b); a = 0; b = 0 }
  /* action: drain.promise */
  :: atomic { toP[p]?DRAIN,a,b ->
       prom[2*p] = prom[2*p] | B(a);
#ifndef M_PROMISE_PER_NAME
       prom[2*p+1] = prom[2*p+1] | B(a);
#endif
       owe[p] = owe[p] | B(a); HEARD(b); a = 0; b = 0 }
  /* action: drain.retired */
  :: atomic { toP[p]?RETIRED,a,b ->
       retm[p] = retm[p] & ~B(a); rets[p] = rets[p] & ~B(a);
       s = 0;
       do
       :: s < NS -> if :: st[p*NS+s] == 3 && oq[p*NS+s] == a -> st[p*NS+s] = 0; oid[p*NS+s] = 0; over[p*NS+s] = 0; oq[p*NS+s] = 0 :: else fi; s++
       :: else -> break
       od; s = 0; a = 0; b = 0 }
  /* action: drain.acknowledge */
  :: atomic { owe[p] != 0 && sess[p] && len(toO[p]) < 2 ->
       a = (owe[p] & B(1) -> 1 : 2);
       busy(p, a, r);
       if
       :: r == 0 -> owe[p] = owe[p] & ~B(a); acked[p] = acked[p] | B(a); toO[p]!DRAIN_ACK,a
       :: else
       fi; a = 0; r = 0 }
  /* action: drain.ask_retire */
  :: atomic { sess[p] && (retm[p] & ~rets[p]) != 0 && len(toO[p]) < 2 ->
       a = ((retm[p] & ~rets[p]) & B(1) -> 1 : ((retm[p] & ~rets[p]) & B(2) -> 2 : 3));
       rets[p] = rets[p] | B(a); toO[p]!RETIRE,a; a = 0 }
  /* an operation enters the gate, bound to its snapshot for life */  /* action: drain.enter */
  :: atomic { snap[p] != 0 && snap[p] != 13 && READYID(snap[p]) != 0 ->
       if :: n = 0 :: n = 1 fi;
       s = 0;
       do
       :: s < NS && st[p*NS+s] != 0 -> s++
       :: else -> break
       od;
       if
       :: s < NS && !(prom[2*p+n] & B(READYID(snap[p]))) && SUBMITOK -> st[p*NS+s] = 1; oid[p*NS+s] = READYID(snap[p]); over[p*NS+s] = snap[p]
       :: else
       fi; n = 0; s = 0 }
#ifdef M_DESCRIBE_SPLIT
  :: d_step { snap[p] == 13 && st[p*NS] == 0 && !(prom[2*p] & B(1)) -> st[p*NS] = 1; oid[p*NS] = 1; over[p*NS] = 3 }
#endif
  :: atomic { st[p*NS] == 1 && pq[p] -> s = 0; goto post }
  /* given up before it was posted: not applied */  /* action: drain.not_posted */
  :: d_step { st[p*NS] == 1 -> st[p*NS] = 0; oid[p*NS] = 0; over[p*NS] = 0 }
  /* cut (flush, deadline, lost path): local quiet only */  /* action: drain.cut */
  :: d_step { st[p*NS] == 2 -> st[p*NS] = 3; retm[p] = retm[p] | B(oq[p*NS]); if :: pq[p] == oq[p*NS] -> pq[p] = 0; qfl[p] = 0 :: else fi }
#if NS > 1
  :: atomic { st[p*NS+1] == 1 && pq[p] -> s = 1; goto post }
  :: d_step { st[p*NS+1] == 1 -> st[p*NS+1] = 0; oid[p*NS+1] = 0; over[p*NS+1] = 0 }
  :: d_step { st[p*NS+1] == 2 -> st[p*NS+1] = 3; retm[p] = retm[p] | B(oq[p*NS+1]); if :: pq[p] == oq[p*NS+1] -> pq[p] = 0; qfl[p] = 0 :: else fi }
#endif
  /* the view is evicted: with its paths only */  /* action: drain.evict */
  :: d_step { snap[p] != 0 && st[p*NS] == 0 && (NS == 1 || st[p*NS+NS-1] == 0) && owe[p] == 0 && MAYEVICT(p) -> snap[p] = 0; prom[2*p] = 0; prom[2*p+1] = 0; pfl[p] = 0 }
  od;
post:  /* action: drain.post */
  atomic {
     if
     :: FLOOROK -> assert(!(acked[p] & B(oid[p*NS+s])));       /* S4: never posts again, under any name */
           st[p*NS+s] = 2; oq[p*NS+s] = pq[p]
     :: else -> st[p*NS+s] = 0; oid[p*NS+s] = 0; over[p*NS+s] = 0   /* re-resolved: describes first */
     fi; s = 0 };
  goto end
}

/* ------------------------------------------------------------------ owner: what sessions bring */
proctype Sessions() {
  byte p, a, f;
  end: do
  :: atomic { toO[0]?HANDSHAKE,a -> p = 0; goto hs }
  :: atomic { toO[0]?DRAIN_ACK,a -> p = 0; goto ack }
  :: atomic { toO[0]?RETIRE,a -> p = 0; goto ret }
#if NP > 1
  :: atomic { toO[1]?HANDSHAKE,a -> p = 1; goto hs }
  :: atomic { toO[1]?DRAIN_ACK,a -> p = 1; goto ack }
  :: atomic { toO[1]?RETIRE,a -> p = 1; goto ret }
#endif
  od;
hs:
#ifdef M_SAMPLE_FIRST
  f = floor;                                     /* sampled, then (lock given up) entered */
  atomic { if :: sess[p] && len(toP[p]) < 2 -> lastq[p]++; qps[p] = qps[p] | B(lastq[p]); leftG[p] = 0; toP[p]!READY_ACK,lastq[p],f :: else fi; f = 0; p = 0; a = 0 };
#else
  /* enter the holder set, then sample, under the lock that READY -> DRAINING takes; only inside a live session */
  /* action: drain.handshake */
  atomic { if
    :: sess[p] && len(toP[p]) < 2 -> lastq[p]++; qps[p] = qps[p] | B(lastq[p]); leftG[p] = 0; toP[p]!READY_ACK,lastq[p],floor
    :: else fi; p = 0; a = 0 };
#endif
  goto end;
ack:  /* action: drain.ack_taken */
  atomic { if
    :: draining == a -> W = W & ~B(p);
#ifdef LITERAL_LEAVE
       leftG[p] = 1;
#endif
    :: else fi; p = 0; a = 0 };
  goto end;
ret:
  /* kill that path, wait until its handler left its chunk, answer */  /* action: drain.retire */
  atomic { !(inchunk && (inchunk-1)/NS == p) -> qps[p] = qps[p] & ~B(a);
    if :: sess[p] && len(toP[p]) < 2 -> toP[p]!RETIRED,a,0 :: else fi; p = 0; a = 0 };
  goto end
}

/* ------------------------------------------------------------------ network, NIC, handlers */
/* the session breaks: what is under way is lost; the peer forgets what it had asked in it */
inline breaks(p) {           /* action: drain.session_down */
  sess[p] = 0;
  do :: len(toO[p]) > 0 -> toO[p]?_,_ :: else -> break od;
  do :: len(toP[p]) > 0 -> toP[p]?_,_,_ :: else -> break od;
  hsw[p] = 0; rets[p] = 0; owe[p] = 0
}
#define ALIVE(p,s) (qps[p] & B(oq[s]))
#define SLOT0(s) st[s] = 0; oid[s] = 0; over[s] = 0; oq[s] = 0

inline lands(p, s) {
  assert(mem != 0 || oid[s] == 0);               /* S2: no byte after OK */
  assert(mem == oid[s]);                         /* S3: g1 never touches g2 */
  assert(!(acked[p] & B(oid[s])));               /* S4: nothing in flight after ACK */
  SLOT0(s)
}
/* action: drain.chunk_enter */  /* action: drain.chunk_leave */
#ifdef TCP
#define DELIVER(p,s) \
  :: atomic { st[s] >= 2 && ALIVE(p,s) && !inchunk -> \
       if :: gone & B(oid[s]) -> if :: st[s] == 2 -> SLOT0(s) :: st[s] == 3 -> skip fi  /* STALE_BUFFER */ \
          :: else -> inchunk = s+1 fi } \
  :: atomic { inchunk == s+1 -> inchunk = 0; lands(p,s) }
#else
#ifdef REG
#ifdef M_IOVA_EQ
#define KEYOK(s) (mr != 0)                       /* key reused and same IOVA: the NIC takes g1's request for g2 */
#else
#define KEYOK(s) (mr == oid[s])                  /* random unique IOVA: another registration's range does not match */
#endif
#else
#define KEYOK(s) true
#endif
#define DELIVER(p,s) \
  :: atomic { st[s] >= 2 && ALIVE(p,s) -> \
       if :: KEYOK(s) -> lands(p,s) \
          :: else -> qps[p] = qps[p] & ~B(oq[s]); if :: pq[p] == oq[s] -> pq[p] = 0; qfl[p] = 0 :: else fi; SLOT0(s) /* NAK: this QP -> ERR */ \
       fi }
#endif

proctype Net() {
  end: do
#ifndef SMALL
  :: atomic { sess[0] -> breaks(0) }
#endif
  DELIVER(0,0)
#if NS > 1
  DELIVER(0,1)
#endif
#if NP > 1
#ifndef SMALL
  :: atomic { sess[1] -> breaks(1) }
#endif
  DELIVER(1,NS)
#if NS > 1
  DELIVER(1,NS+1)
#endif
#endif
  /* a session dead for three heartbeats: its holders are fenced (a handler inside a chunk finishes it first) */
  /* action: drain.fence_dead */
  :: d_step { !sess[0] && qps[0] && !(inchunk && (inchunk-1)/NS == 0) -> qps[0] = 0 }
#if NP > 1
  :: d_step { !sess[1] && qps[1] && !(inchunk && (inchunk-1)/NS == 1) -> qps[1] = 0 }
#endif
  od
}

/* ------------------------------------------------------------------ owner: deregister / revoke */
#ifdef M_FENCE_ALL
#define TOFENCE(p) true
#else
#define TOFENCE(p) (W & B(p))
#endif
inline fenceqp(p) {
  if
  :: TOFENCE(p) -> assert((W & B(p)) || qps[p] == 0);       /* S12: no other peer's path is hurt */
        qps[p] = 0
  :: else
  fi
}
proctype Drain() {
  byte id = 1;
  byte p;
  do
  :: id <= ROUNDS ->
     /* READY -> DRAINING, floor, sample the holders, tell them */  /* action: drain.ready_to_draining */
#ifdef M_G_BEFORE
     atomic { W = 0; p = 0; do :: p < NP -> if :: HOLDER(p) -> W = W | B(p) :: else fi; p++ :: else -> break od; p = 0 };
#endif
     atomic {
       ver++; floor = ver; draining = id;
#ifndef M_G_BEFORE
       W = 0;
#endif
       p = 0;
       do
       :: p < NP ->
#ifdef M_G_SESSIONS
          if :: qps[p] && sess[p] -> W = W | B(p) :: else fi;    /* only whoever has a session is asked */
#elif !defined(M_G_BEFORE)
          if :: HOLDER(p) -> W = W | B(p) :: else fi;
#endif
          if :: (W & B(p)) && sess[p] && len(toP[p]) < 2 -> toP[p]!DRAIN,id,floor :: else fi;
          p++
       :: else -> break
       od; p = 0 };
     /* every holder acknowledged, or has no path left, or D (any time) */  /* action: drain.wait_over */
     if
     :: ((W & B(0)) == 0 || qps[0] == 0) && (NP == 1 || (W & B(NP-1)) == 0 || qps[NP-1] == 0)
#ifndef M_NO_D
     :: true /* D */
#endif
     fi;
     /* action: drain.fence */
#ifdef GRANT
#ifndef M_NO_FENCE
     atomic { fenceqp(0);
#if NP > 1
       fenceqp(1);
#endif
     };
#endif
#endif
#ifdef TCP
     atomic { gone = gone | B(id) };
     /* wait for those inside a chunk */  /* action: drain.gate_quiet */
#if defined(LITERAL_CHUNK)
     if :: W == 0 :: else -> (!(inchunk && oid[inchunk-1] == id)) fi;   /* only when somebody had to be fenced */
#elif !defined(M_NO_CHUNK_WAIT)
     (!(inchunk && oid[inchunk-1] == id));
#endif
#endif
#ifdef REG
#ifdef M_OK_BEFORE_DEREG
     atomic { mem = 0 };
     atomic { mr = 0; ver++; draining = 0; W = 0 };
#else
     atomic { mr = 0 };
#endif
#endif
     /* OK: the caller may free or reuse the memory */  /* action: drain.ok */
#ifndef M_OK_BEFORE_DEREG
     atomic { ver++; draining = 0; W = 0; mem = 0; gone = gone | B(id) };
#endif
     id++;
     if
     /* the same memory again at once: a new ID */  /* action: drain.register */
     :: id <= 2 -> atomic { ver = 4; mem = 2; mr = 2 }
     :: else
     fi
  :: else -> break
  od;
  finished = true
}

init { atomic { run Drain(); run Sessions(); run Net(); run Peer(0, 0);
#if NP > 1
  run Peer(1, 0)
#endif
} }

#ifdef LIVE
ltl L1 { <> finished }
#endif
