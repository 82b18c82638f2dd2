/* owner.pml: ownership of a name in a store, publish, renewal, takeover, restore   (S5, S6; README.md says what these are)
 *
 * A store with one revision counter and compare-and-set transactions; three keys: owner, head, store_id. Two claimants
 * (instances 1 and 2) of one name; requests are delayed for any time, also after their sender gave up waiting. A lease
 * expires at any time (a free choice: safety rests on no clock). The store may once come back as an older or an empty
 * one: revisions then go back, and are given again. One reader, whose reads may be older than what it has (follower).
 *
 * LITERAL_CMP    compare only ModRevision(owner) and ModRevision(head), as the design had it once
 * LITERAL_FENCED "compare lost: FENCED" without looking whose the owner key is
 * LITERAL_READER newer = greater (epoch, version), whatever instance
 * LITERAL_PAST   a head of an earlier store_id is adopted whenever its instance answers, though a newer one of that
 *                store_id had been adopted before
 */
#ifndef RMAX
#define RMAX 8
#endif
#ifndef VMAX
#define VMAX 2
#endif
/* ---- store ---- */
byte rev = 1;
byte o_inst = 0, o_rev = 0, o_lease = 0;               /* owner key, 0 absent; its ModRevision is the epoch */
byte h_inst = 0, h_rev = 0, h_epoch = 0, h_ver = 0, h_sid = 0, h_lease = 0;
byte sid = 1;                                          /* store_id key */
byte nsid = 1;                                         /* (128 random bits: never given twice) */
byte s_inst = 0;                                       /* stock JSON key, on its writer's lease */
bool lease[3];                                         /* lease of claimant 1, 2 alive */
/* snapshot that a restore brings back; at first the empty store */
byte b_rev = 1, b_oi = 0, b_or = 0, b_ol = 0, b_hi = 0, b_hr = 0, b_he = 0, b_hv = 0, b_hs = 0, b_hl = 0;
bool backed = false, restored = false;
/* ---- claimants ---- */
byte epoch[3];                                         /* what it believes, 0 not owner */
byte mysid[3];                                         /* store_id it read when it acquired */
byte last[3];                                          /* ModRevision(head) it knows */
byte vers[3];                                          /* its metadata_version */
bool pend[3]; byte p_ep[3], p_last[3], p_ver[3], p_sid[3];     /* publish under way, being waited for */
bool zomb[3]; byte z_ep[3], z_last[3], z_ver[3], z_sid[3];     /* publish given up, may still land */
byte res[3];                                           /* 0 no answer yet, 1 ok, 2 compare lost */
byte rnew[3];                                          /* renewal round: 0 none, 1 lease renewed, owner key to be read */
/* ---- for the checks ---- */
byte top[4];                                           /* highest epoch of a stored head, per store_id (at most 3) */

#ifdef LITERAL_CMP
#define CMP(c, e, l, s) (o_rev == e && h_rev == l)
#else
#define CMP(c, e, l, s) (o_rev == e && o_inst == c && sid == s && h_rev == l)   /* repair: value of owner, store_id */
#endif
#if defined(M_NO_HEAD_CMP)
#undef CMP
#define CMP(c, e, l, s) (o_rev == e && o_inst == c && sid == s)
#elif defined(M_NO_OWNER_CMP)
#undef CMP
#define CMP(c, e, l, s) (h_rev == l)
#endif

inline apply(c, e, l, v, s, r) {                       /* the store executes a publish */
  if
  :: rev < RMAX && CMP(c, e, l, s) ->
     assert(o_inst == c);                              /* S6: only the owner's write succeeds */
     assert(e >= top[s]);                              /* S6: no write of an older epoch after a head of a newer one */
     assert(!(h_inst == c && h_epoch == e && h_ver > v)); /* S6: one's own late write does not undo a newer one */
     rev++; h_inst = c; h_rev = rev; h_epoch = e; h_ver = v; h_sid = s; h_lease = c; s_inst = c;
     top[s] = e;
     r = 1
  :: else -> r = 2
  fi
}

/* values nobody will read again are zeroed: fewer states, no other effect */
inline nopend(c) { pend[c] = false; res[c] = 0; p_ep[c] = 0; p_last[c] = 0; p_ver[c] = 0; p_sid[c] = 0 }
inline nozomb(c) { zomb[c] = false; z_ep[c] = 0; z_last[c] = 0; z_ver[c] = 0; z_sid[c] = 0 }
inline noowner(c) { epoch[c] = 0; mysid[c] = 0; last[c] = 0; rnew[c] = 0 }
inline drop(c) {
  if :: o_lease == c -> o_inst = 0; o_rev = 0; o_lease = 0 :: else fi;
  if :: h_lease == c -> h_inst = 0; h_rev = 0; h_epoch = 0; h_ver = 0; h_sid = 0; h_lease = 0 :: else fi;
  if :: s_inst == c -> s_inst = 0 :: else fi
}

proctype Claimant(byte c) {
  byte o;
  end: do
  /* acquire: free, or left of an ownership of its own that it gave up or never heard of, or takeover of another's (then
     revoke that lease) */
  :: atomic { /* action: owner.acquire */ epoch[c] == 0 && !pend[c] && rev < RMAX && (o_inst == 0) ->
       rev++; o_inst = c; o_rev = rev; o_lease = c; lease[c] = true;
       h_inst = 0; h_rev = 0; h_epoch = 0; h_ver = 0; h_sid = 0; h_lease = 0;
       epoch[c] = rev; mysid[c] = sid; last[c] = 0; rnew[c] = 0 }
  :: atomic { /* action: owner.acquire_again */ epoch[c] == 0 && !pend[c] && rev < RMAX && o_inst == c ->
       rev++; o_rev = rev; o_lease = c; lease[c] = true;          /* a new lease; the old one is revoked, with its keys */
       h_inst = 0; h_rev = 0; h_epoch = 0; h_ver = 0; h_sid = 0; h_lease = 0;
       if :: s_inst == c -> s_inst = 0 :: else fi;
       epoch[c] = rev; mysid[c] = sid; last[c] = 0; rnew[c] = 0 }
  :: atomic { /* action: owner.take_over */ epoch[c] == 0 && !pend[c] && rev < RMAX && o_inst == 3-c ->
       rev++; o = o_inst; o_inst = c; o_rev = rev; o_lease = c; lease[c] = true;
       h_inst = 0; h_rev = 0; h_epoch = 0; h_ver = 0; h_sid = 0; h_lease = 0;
       epoch[c] = rev; mysid[c] = sid; last[c] = 0; rnew[c] = 0 };
     atomic {
       if
       :: o_inst == c && h_lease != o ->
#ifndef M_NO_REVOKE
          lease[o] = false; drop(o);
#endif
          assert(s_inst != o)                          /* S6: no key of the old owner outlives the takeover */
       :: else -> skip
       fi; o = 0 }
  /* publish */
  :: d_step { /* action: owner.publish */ epoch[c] != 0 && !pend[c] && vers[c] < VMAX ->
       vers[c]++; pend[c] = true; p_ep[c] = epoch[c]; p_last[c] = last[c]; p_ver[c] = vers[c]; p_sid[c] = mysid[c]; res[c] = 0 }
  :: atomic { /* action: owner.published */ pend[c] && res[c] == 1 -> last[c] = (epoch[c] != 0 -> p_last[c] : 0); nopend(c) }
  :: atomic { /* action: owner.compare_lost */ pend[c] && res[c] == 2 ->
       nopend(c);
#ifdef LITERAL_FENCED
       assert(!(o_inst == c && o_rev == epoch[c]));    /* S6: FENCED is said only when the name is another's */
       noowner(c)
#else
       /* repair: the failed transaction's Else reads owner and head: ours still, and the head is our own earlier one */
       if
       :: o_inst == c && o_rev == epoch[c] && sid == mysid[c] -> last[c] = h_rev
       :: else -> assert(!(o_inst == c && o_rev == epoch[c] && sid == mysid[c])); noowner(c)   /* S6 */
       fi
#endif
     }
  /* no answer in time: read back; the request may still be on its way */
  :: atomic { /* action: owner.no_answer */ pend[c] && res[c] == 0 && !zomb[c] ->
       zomb[c] = true; z_ep[c] = p_ep[c]; z_last[c] = p_last[c]; z_ver[c] = p_ver[c]; z_sid[c] = p_sid[c];
       nopend(c);
       if :: epoch[c] != 0 && h_inst == c && h_epoch == epoch[c] && sid == mysid[c] -> last[c] = h_rev :: else fi }
  /* renewal: the lease first, then the owner key, read linearizably in the same round */
  :: d_step { /* action: owner.renew */ epoch[c] != 0 && rnew[c] == 0 && lease[c] -> rnew[c] = 1 }
  :: atomic { /* action: owner.renewed */ rnew[c] == 1 ->
       rnew[c] = 0;
       if
#ifdef M_RENEW_BLIND
       :: true ->
#elif defined(LITERAL_CMP)
       :: o_rev == epoch[c] ->
#else
       :: o_rev == epoch[c] && o_inst == c && sid == mysid[c] ->
#endif
          assert(o_inst == c)                          /* S6: a counted renewal: it was the owner within the round */
       :: else -> noowner(c)
       fi }
  /* it notices that the store is another one: a revision went back, or store_id is missing or differs */
  :: atomic { /* action: owner.notice_restore */ restored && epoch[c] != 0 && sid != mysid[c] -> noowner(c) }
  od
}

proctype Store() {
  byte r;
  end: do
  :: atomic { pend[1] && res[1] == 0 -> apply(1, p_ep[1], p_last[1], p_ver[1], p_sid[1], res[1]); if :: res[1] == 1 -> p_last[1] = rev :: else fi }
  :: atomic { pend[2] && res[2] == 0 -> apply(2, p_ep[2], p_last[2], p_ver[2], p_sid[2], res[2]); if :: res[2] == 1 -> p_last[2] = rev :: else fi }
  :: atomic { zomb[1] -> apply(1, z_ep[1], z_last[1], z_ver[1], z_sid[1], r); r = 0; nozomb(1) }
  :: atomic { zomb[2] -> apply(2, z_ep[2], z_last[2], z_ver[2], z_sid[2], r); r = 0; nozomb(2) }
  /* a lease ends (expiry, any time): its keys go in one transaction */
  :: atomic { lease[1] && rev < RMAX -> lease[1] = false; rev++; drop(1) }
  :: atomic { lease[2] && rev < RMAX -> lease[2] = false; rev++; drop(2) }
#ifndef NORESTORE
  :: d_step { !backed && !restored && rev > 1 -> backed = true; b_rev = rev; b_oi = o_inst; b_or = o_rev; b_ol = o_lease;
       b_hi = h_inst; b_hr = h_rev; b_he = h_epoch; b_hv = h_ver; b_hs = h_sid; b_hl = h_lease }
  :: d_step { !restored -> restored = true; rev = b_rev; o_inst = b_oi; o_rev = b_or; o_lease = b_ol;
       h_inst = b_hi; h_rev = b_hr; h_epoch = b_he; h_ver = b_hv; h_sid = b_hs; h_lease = b_hl;
       top[sid] = b_he;                                /* S6 speaks of one history of the store */
       s_inst = b_hi;
       lease[1] = (b_ol == 1 || b_hl == 1); lease[2] = (b_ol == 2 || b_hl == 2);
       b_rev = 0; b_oi = 0; b_or = 0; b_ol = 0; b_hi = 0; b_hr = 0; b_he = 0; b_hv = 0; b_hs = 0; b_hl = 0; backed = true }
  /* somebody sees the revision going back (or, in an empty store, no store_id): a new one is made; if nobody does, never */
  :: d_step { /* action: owner.remake */ restored && nsid == 1 -> nsid = 2; sid = 2 }
#endif
  od
}
/* reader: any head it gets, fresh or old */
byte a_inst, a_sid, a_epoch, a_ver;                    /* adopted */
byte t_epoch[3], t_ver[3];                             /* newest adopted under each store_id */
#define GT(e1,v1,e2,v2) ((e1) > (e2) || ((e1) == (e2) && (v1) > (v2)))
#if defined(M_READER_NEQ)
#define NEWER (e != a_epoch || v != a_ver)
#elif defined(LITERAL_READER)
#define NEWER GT(e,v,a_epoch,a_ver)
#else                         /* repair: one order, two instances: the store went back; not comparable, handshake first */
#define NEWER (GT(e,v,a_epoch,a_ver) && !(e == a_epoch && i != a_inst))
#endif
#ifdef LITERAL_PAST
#define PAST true
#else                         /* repair: what was adopted under an earlier store_id is remembered */
#define PAST (!GT(t_epoch[s],t_ver[s],e,v))
#endif
#ifdef M_ADOPT_SPLIT
#define SPLIT } atomic {      /* compared, then (another fetch adopts) stored */
#else
#define SPLIT
#endif
proctype Reader() {
  byte i, s, e, v;
  bool take;
  end: do
  :: d_step { i == 0 && h_inst != 0 -> i = h_inst; s = h_sid; e = h_epoch; v = h_ver }     /* read, arrives later */
  :: atomic { /* action: owner.reader_compare */ i != 0 ->
       if
       :: a_inst == 0 -> take = true
       :: a_inst != 0 && s != a_sid -> take = PAST     /* another store: through a handshake with that instance */
       :: else -> take = NEWER
       fi;
       SPLIT
       if
       :: take ->
          assert(!GT(t_epoch[s],t_ver[s],e,v));        /* S5 */
          if
          :: a_inst != 0 && s == a_sid ->
             assert(GT(e,v,a_epoch,a_ver));            /* S5 */
             assert(!(e == a_epoch && i != a_inst))    /* S5: the epoch is a fencing token: one owner each */
          :: else
          fi;
          /* action: owner.reader_adopt */
          a_inst = i; a_sid = s; a_epoch = e; a_ver = v; t_epoch[s] = e; t_ver[s] = v
       :: else
       fi; take = false; i = 0; s = 0; e = 0; v = 0 }
  od
}
init { atomic { run Claimant(1); run Claimant(2); run Store();
#ifdef READER
  run Reader(); run Reader()                           /* two reads under way at a time: the older may come last */
#endif
} }
